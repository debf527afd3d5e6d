"""HumanEvalFix: rows into issues, and, where the real file is at hand, every fix and every bug judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from rllm_assets.data.issues import FunctionTask, Issue, Rejected
from rllm_assets.data.sources import humaneval_fix
from rllm_assets.sandbox.jobs import SandboxUnavailableError
from rllm_assets.verification import Verifier

ROW = {
    "task_id": "Python/7",
    "prompt": 'def largest(items):\n    """Return the largest item."""\n',
    "declaration": "from typing import List\n\n\ndef largest(items: List[int]) -> int:\n",
    "canonical_solution": "    return max(items)\n",
    "buggy_solution": "    return min(items)\n",
    "bug_type": "function misuse",
    "failure_symptoms": "incorrect output",
    "entry_point": "largest",
    "docstring": "Return the largest item.\n>>> largest([1, 3, 2])\n3",
    "instruction": "Write a Python function ...",
    "test": "\n\ndef check(largest):\n    assert largest([1, 3, 2]) == 3\n    assert largest([5]) == 5\n\ncheck(largest)",
}


def read_rows(directory: Path, *rows: dict[str, Any] | str | bytes) -> list[Issue | Rejected]:
    file = directory / "rows.jsonl"
    lines = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    file.write_bytes(b"\n".join(lines) + b"\n")
    return list(humaneval_fix.read(file, "fixes"))


def test_a_row_is_an_issue(tmp_path: Path) -> None:
    (issue,) = read_rows(tmp_path, ROW)
    assert isinstance(issue, Issue)
    assert isinstance(issue.task, FunctionTask)
    assert issue.instance_id == "HumanEvalFix-Python-7"
    assert issue.repo == "bigcode/humanevalpack"
    assert issue.group == "bigcode/humanevalpack/python_7.largest"
    assert issue.labels == ["function misuse", "incorrect output"]
    assert issue.source.model_dump() == {
        "benchmark": "fixes",
        "kind": "humaneval_fix",
        "file": "rows.jsonl",
        "line": 1,
        "repository": "",
    }
    assert issue.problem_statement == (
        "largest returns a wrong result\n\n"
        "What it is documented to do:\n\nReturn the largest item.\n>>> largest([1, 3, 2])\n3\n"
    )
    head = "from typing import List\n\n\ndef largest(items: List[int]) -> int:\n"
    assert issue.task.fixed_code == head + "    return max(items)\n"
    assert issue.task.buggy_code == head + "    return min(items)\n"
    assert [(case.args, case.returns) for case in issue.task.cases] == [([[1, 3, 2]], 3), ([[5]], 5)]
    assert issue.task.test_code is None
    assert "-    return min(items)\n+    return max(items)\n" in issue.patch
    assert issue.patch.startswith("--- a/python_7.py\n+++ b/python_7.py\n")


def test_the_statement_never_holds_the_fix(tmp_path: Path) -> None:
    (issue,) = read_rows(tmp_path, ROW)
    assert isinstance(issue, Issue)
    assert "max(" not in issue.problem_statement
    assert "function misuse" not in issue.problem_statement


@pytest.mark.parametrize(
    ("symptom", "title"),
    [
        ("infinite loop", "largest never returns"),
        ("stackoverflow", "largest fails with a stack overflow"),
        ("something new", "largest does not do what it should"),
    ],
)
def test_the_title_tells_the_symptom(tmp_path: Path, symptom: str, title: str) -> None:
    (issue,) = read_rows(tmp_path, {**ROW, "failure_symptoms": symptom})
    assert isinstance(issue, Issue)
    assert issue.problem_statement.splitlines()[0] == title


def test_a_suite_that_cases_cannot_say_stays_a_suite(tmp_path: Path) -> None:
    suite = "\ndef check(largest):\n    import random\n    assert largest([random.random()]) < 1\n\ncheck(largest)"
    (issue,) = read_rows(tmp_path, {**ROW, "test": suite})
    assert isinstance(issue, Issue)
    assert isinstance(issue.task, FunctionTask)
    assert issue.task.cases == ()
    assert issue.task.test_code == suite.strip() + "\n"


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"test": None}, "test", "Input should be a valid string"),
        ({"docstring": ""}, "docstring", "String should have at least 1 character"),
        ({"entry_point": "a.b"}, "entry_point", "String should match pattern"),
        ({"entry_point": "smallest"}, "canonical_solution", "it defines no function smallest"),
        (
            {"canonical_solution": "    return max(items\n"},
            "canonical_solution",
            "does not parse",
        ),
        ({"buggy_solution": "    return max(items)\n"}, "buggy_solution", "there is no bug"),
        ({"test": "assert largest("}, "test", "does not parse"),
        ({"task_id": 7}, "task_id", "Input should be a valid string"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], field: str, reason: str) -> None:
    first, second, third = read_rows(
        tmp_path, {**ROW, "task_id": "Python/1"}, {**ROW, **change}, {**ROW, "task_id": "Python/3"}
    )
    assert isinstance(first, Issue)
    assert isinstance(third, Issue)
    assert isinstance(second, Rejected)
    assert (second.file, second.line, second.field) == ("rows.jsonl", 2, field)
    assert reason in second.reason
    assert str(second).startswith(f"rows.jsonl:2: {field}: ")
    assert "Return the largest item" in second.row or "docstring" in change


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "a list where an object is expected"),
        ("5", "a int where an object is expected"),
        (b'{"task_id": "\xff"}', "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_wrong_line_does_not_stop_the_others(tmp_path: Path, line: str | bytes, reason: str) -> None:
    bad, good = read_rows(tmp_path, line, ROW)
    assert isinstance(good, Issue)
    assert isinstance(bad, Rejected)
    assert reason in bad.reason
    assert (bad.line, len(bad.row)) == (1, min(len(line), 2000))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    (rejected,) = read_rows(tmp_path, {key: value for key, value in ROW.items() if key != "buggy_solution"})
    assert isinstance(rejected, Rejected)
    assert (rejected.field, rejected.reason) == ("buggy_solution", "Field required")


def test_blank_lines_and_several_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"\n{json.dumps(ROW)}\n\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({**ROW, "task_id": "Python/8"}))
    (tmp_path / "notes.txt").write_text("no rows")
    issues = list(humaneval_fix.read(tmp_path, "fixes"))
    assert [(issue.source.file, issue.source.line) for issue in issues if isinstance(issue, Issue)] == [
        ("a.jsonl", 2),
        ("b.jsonl", 1),
    ]


@pytest.fixture(scope="module")
def published(test_data: Path) -> dict[str, FunctionTask]:
    file = test_data / "issues" / "humanevalpack_python.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there: the published HumanEvalFix is not judged")
    rows = list(humaneval_fix.read(file, "humaneval-fix"))
    assert [row for row in rows if isinstance(row, Rejected)] == []
    return {row.instance_id: row.task for row in rows if isinstance(row, Issue) and isinstance(row.task, FunctionTask)}


def test_nearly_all_published_suites_become_cases(published: dict[str, FunctionTask]) -> None:
    assert len(published) == 164
    suites = [name.rpartition("-")[2] for name, task in published.items() if task.test_code]
    # Random inputs, helpers of the module, and sequences of either type.
    assert suites == ["32", "33", "37", "38", "50", "53"]


def test_every_published_fix_resolves_and_every_bug_fails(published: dict[str, FunctionTask]) -> None:
    try:
        verifier = Verifier()
    except SandboxUnavailableError as error:
        pytest.skip(f"no strong sandbox on this machine, HumanEvalFix is not judged: {error}")
    # Some bugs loop for ever; nobody has to wait for them as long as for a slow fix.
    hasty = [task.model_copy(update={"timeout_seconds": 1.0}) for task in published.values()]
    with verifier:
        fixes = verifier.verify_many([(task, task.fixed_code) for task in published.values()] * 3)
        bugs = verifier.verify_many([(task, task.buggy_code) for task in hasty] * 3)
    assert [verdict.reason for verdict in fixes if not verdict.resolved] == []
    assert len(fixes) == len(bugs) == 3 * 164
    assert {verdict.status for verdict in bugs} <= {"failed", "timeout", "out_of_memory"}
    assert all(verdict.reason for verdict in bugs)
