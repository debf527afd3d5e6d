"""SWE-bench predictions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.data.answers import AnswerFormat, answer_format
from rllm_assets.data.benchmarks import Benchmark
from rllm_assets.data.exports import ExportError, export
from rllm_assets.data.exports.predictions import model_patch
from rllm_assets.data.sources import load_issues
from tests.data.exports.examples import FIXED, POLICY, WRONG, attempt, dataset, issue, repository_issue, right

FUNCTION = answer_format("function")
DIFF = AnswerFormat(prompt=lambda _: [], gold=lambda one: one.patch, extract=lambda _, text: text, complete=bool)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_a_model_and_attempt(tmp_path):
    data = dataset()
    written = export(data, "predictions", tmp_path)
    model = POLICY[:12]
    assert {path.name: count for path, count in written.rows.items()} == {
        "predictions_gold_0.jsonl": 3,
        f"predictions_{model}_0.jsonl": 2,
        f"predictions_{model}_1.jsonl": 2,
        "predictions_lib-base_0.jsonl": 1,
        "predictions_lib-lora_0.jsonl": 1,
    }
    patch = "--- a/sums.py\n+++ b/sums.py\n@@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n+    return a + b\n"
    assert rows(tmp_path / "predictions_gold_0.jsonl") == [
        {"instance_id": name, "model_name_or_path": "gold", "model_patch": patch}
        for name in ("lib-1", "lib-2", "lib-3")
    ]
    assert rows(tmp_path / f"predictions_{model}_0.jsonl") == [
        {"instance_id": "lib-1", "model_name_or_path": model, "model_patch": patch},
        # An answer without code is an empty patch, which the harness counts apart.
        {"instance_id": "lib-2", "model_name_or_path": model, "model_patch": ""},
    ]
    assert rows(tmp_path / "predictions_lib-lora_0.jsonl") == [
        {"instance_id": "lib-3", "model_name_or_path": "lib-lora", "model_patch": patch}
    ]


def test_no_file_holds_an_issue_twice(tmp_path):
    one = issue("lib-1")
    # Two files of trajectories, merged: both number from 0.
    data = dataset(splits={"train": [one]}, attempts=[attempt(one, 0, WRONG), attempt(one, 0, right())], evaluated=[])
    written = export(data, "predictions", tmp_path)
    assert [len(rows(path)) for path in written.rows] == [1, 1]
    assert len({rows(path)[0]["model_patch"] for path in written.rows}) == 2


def test_only_what_resolves_and_only_of_one_kind(tmp_path):
    resolved = export(dataset(), "predictions", tmp_path / "resolved", only="resolved")
    assert [path.name for path in resolved.rows] == [
        "predictions_gold_0.jsonl",
        f"predictions_{POLICY[:12]}_0.jsonl",
        "predictions_lib-lora_0.jsonl",
    ]
    gold = export(dataset(), "predictions", tmp_path / "gold", kinds=["gold"], splits=["val"])
    assert [path.name for path in gold.rows] == ["predictions_gold_0.jsonl"]
    assert [row["instance_id"] for row in rows(next(iter(gold.rows)))] == ["lib-3"]


@pytest.mark.parametrize(
    ("buggy", "answer", "patch"),
    [
        ("x = 1\n", "```python\nx = 1\n```", ""),
        ("\nx = 1\n\n", "```python\nx = 1\n```", ""),
        ("x = 1", "```python\nx = 1\n```", ""),
        ("x = 1\n", "```python\nx = 2\n```", "--- a/sums.py\n+++ b/sums.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"),
        ("\nx = 1\n\n", "```\nx = 2\n```", "--- a/sums.py\n+++ b/sums.py\n@@ -1,3 +1,3 @@\n \n-x = 1\n+x = 2\n \n"),
        (
            "x = 1",
            "```python\nx = 2\n```",
            "--- a/sums.py\n+++ b/sums.py\n@@ -1 +1 @@\n-x = 1\n\\ No newline at end of file\n+x = 2\n",
        ),
        ("", "```python\nx = 2\n```", "--- a/sums.py\n+++ b/sums.py\n@@ -0,0 +1 @@\n+x = 2\n"),
    ],
)
def test_the_patch_is_the_difference_to_the_code_that_was_asked_about(buggy, answer, patch):
    # With no fix on record, the file's name is that of the module.
    assert model_patch(issue("lib-1", buggy=buggy, patch=""), FUNCTION, answer) == patch


def test_the_fix_of_every_bundled_issue_is_its_patch():
    from rllm_assets.data.benchmarks import find_benchmark

    issues, _ = load_issues(find_benchmark("pocket"))
    assert len(issues) > 300
    assert [one.instance_id for one in issues if model_patch(one, FUNCTION, FUNCTION.gold(one)) != one.patch] == []


def test_the_fix_of_every_issue_of_humaneval_is_its_patch(test_data):
    file = test_data / "issues" / "humanevalpack_python.jsonl"
    benchmark = Benchmark(id="humaneval", source="humaneval_fix", path=file.name, directory=file.parent)
    issues, _ = load_issues(benchmark)
    assert len(issues) == 164
    assert [one.instance_id for one in issues if model_patch(one, FUNCTION, FUNCTION.gold(one)) != one.patch] == []


def test_what_several_turns_made_is_the_patch_and_not_what_was_said(tmp_path):
    function, repository = issue("lib-1"), repository_issue()
    said = [{"role": "assistant", "content": "```bash\nsed -i s/-/+/ sums.py\n```"}]
    tried = [
        attempt(function, response="...", turns=said, candidate=FIXED),
        attempt(issue(repository.instance_id), response="...", turns=said, candidate=repository.patch),
    ]
    issues = [function, repository]
    written = export(dataset(splits={"train": issues}, attempts=tried, evaluated=[]), "predictions", tmp_path)
    (path,) = written.rows
    assert [row["model_patch"] for row in rows(path)] == [function.patch, repository.patch]


def test_a_change_to_a_repository_is_the_answers_own_diff(tmp_path):
    one = repository_issue()
    assert model_patch(one, DIFF, one.patch) == one.patch
    issues = [one, issue("lib-1")]
    tried = [attempt(issue(other.instance_id), 0, right()) for other in issues]
    written = export(dataset(splits={"train": issues}, attempts=tried, evaluated=[]), "predictions", tmp_path)
    assert [str(row) for row in written.left_out] == [
        f"{POLICY[:12]}: own__lib-7: own__lib-7: tests/test_a.py, which holds required tests, is not in the tree"
    ]
    assert [row["instance_id"] for row in rows(next(iter(written.rows)))] == ["lib-1"]


def test_an_answer_without_end_is_left_out(tmp_path):
    one = issue("lib-1")
    endless = "```python\n" + "x\n" * 500_000 + "```"
    data = dataset(splits={"train": [one]}, attempts=[attempt(one, 0, endless)], evaluated=[])
    with pytest.raises(ExportError, match=r"no answer of lib is left .* 1,000,013 characters, more than 1,000,000"):
        export(data, "predictions", tmp_path)
    assert list(tmp_path.iterdir()) == []


LINES = st.lists(st.sampled_from(["x = 1", "", "def f():", "    return 2", "-1", "+1", "@@ -1 +1 @@"]), max_size=8)


@given(before=LINES, after=LINES)
def test_the_patch_turns_the_code_into_the_answer(before, after):
    buggy, fixed = "\n".join(["pass", *before, "pass"]) + "\n", "\n".join(["pass", *after, "end"]) + "\n"
    patch = model_patch(issue("lib-1", buggy=buggy, fixed=fixed), FUNCTION, f"```python\n{fixed}```")
    assert _applied(buggy.splitlines(), patch.splitlines()) == fixed.splitlines()


def _applied(lines: list[str], patch: list[str]) -> list[str]:
    """Apply a diff of one file, by the numbers of its hunks."""
    out: list[str] = []
    at = 0
    for line in patch[2:]:
        if line.startswith("@@ -") and line.endswith(" @@") and "," not in line[:3]:
            start, _, count = line.split()[1][1:].partition(",")
            begin = int(start) - (count != "0")
            out += lines[at:begin]
            at = begin
        elif line.startswith("+"):
            out.append(line[1:])
        else:
            assert lines[at] == line[1:]
            out += [lines[at]] if line.startswith(" ") else []
            at += 1
    return out + lines[at:]
