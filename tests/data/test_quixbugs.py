"""QuixBugs-like rows: a buggy function, its fix, and assertions."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from rllm_assets.data.benchmarks import read_benchmark
from rllm_assets.data.issues import Case, FunctionTask, Issue, Rejected
from rllm_assets.data.sources import load_issues, quixbugs
from rllm_assets.sandbox.jobs import SandboxUnavailableError
from rllm_assets.verification import Verifier
from rllm_assets.verification.validation import validate_issues

ROW = {
    "name": "largest",
    "buggy_program": "def largest(items):\n    return min(items)\n\n",
    "docstring": '"""\nReturn the largest item.\n"""',
    "solution": "def largest(items):\n    return max(items)",
    "tests": "assert largest([1, 3]) == 3\nassert largest([5]) == 5\n",
}
# A generator has no value that can be written down: its suite is run as it stands.
COUNTED = {
    "name": "counted",
    "buggy_program": "def counted(n):\n    for i in range(n):\n        yield i\n",
    "solution": "def counted(n):\n    for i in range(n):\n        yield i + 1\n",
    "tests": "assert list(counted(3)) == [1, 2, 3]\n",
}


def read(directory: Path, *rows: Mapping[str, object]) -> list[Issue | Rejected]:
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(quixbugs.read(directory / "rows.jsonl", "bugs"))


def test_a_row_is_an_issue(tmp_path):
    (issue,) = read(tmp_path, ROW)
    assert isinstance(issue, Issue)
    assert issue.instance_id == "QuixBugs-largest"
    assert issue.problem_statement == (
        "largest does not do what it should\n\nWhat it is documented to do:\n\nReturn the largest item.\n"
    )
    assert issue.patch == (
        "--- a/largest.py\n+++ b/largest.py\n@@ -1,2 +1,2 @@\n"
        " def largest(items):\n-    return min(items)\n+    return max(items)\n"
    )
    assert issue.task == FunctionTask(
        module="largest",
        entry_point="largest",
        buggy_code="def largest(items):\n    return min(items)\n",
        fixed_code="def largest(items):\n    return max(items)\n",
        cases=(Case(args=[[1, 3]], returns=3, tolerance=0), Case(args=[[5]], returns=5, tolerance=0)),
    )
    assert (issue.source.kind, issue.source.file, issue.source.line) == ("quixbugs", "rows.jsonl", 1)


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"name": "a.b"}, "name", "String should match pattern"),
        ({"tests": None}, "tests", "Input should be a valid string"),
        ({"tests": "assert largest("}, "tests", "does not parse"),
        ({"solution": "def smallest(): pass"}, "solution", "it defines no function largest"),
        ({"solution": "def largest("}, "solution", "does not parse"),
        ({"buggy_program": ROW["solution"]}, "buggy_program", "there is no bug"),
        ({"docstring": "x" * 10_000_001}, "docstring", "String should have at most 10000000 characters"),
    ],
)
def test_a_wrong_field_costs_its_row_and_is_named(tmp_path, change, field, reason):
    wrong, right = read(tmp_path, {**ROW, **change}, ROW)
    assert isinstance(right, Issue)
    assert isinstance(wrong, Rejected)
    assert (wrong.file, wrong.line, wrong.field) == ("rows.jsonl", 1, field)
    assert reason in wrong.reason


def test_a_benchmark_of_them_is_verified(tmp_path):
    read(tmp_path, ROW, COUNTED, {**ROW, "name": "same", "solution": "def same(items):\n    return min(items)  # so\n"})
    (tmp_path / "benchmark.yaml").write_text("{id: bugs, source: quixbugs, path: rows.jsonl}\n")
    issues, rejected = load_issues(read_benchmark(tmp_path / "benchmark.yaml"))
    assert (len(issues), rejected) == (3, [])
    try:
        verifier = Verifier(workers=1)
    except SandboxUnavailableError as error:
        pytest.skip(f"no strong sandbox on this machine: {error}")
    with verifier:
        kept, left = validate_issues(issues, verifier)
    assert [(issue.instance_id, issue.is_judged_in_process) for issue in kept] == [
        ("QuixBugs-counted", True),
        ("QuixBugs-largest", False),
    ]
    assert [row.category for row in left] == ["unresolved"]
