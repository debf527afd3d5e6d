"""Which tests decide, found by running them."""

import os
from pathlib import Path

import pytest

from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.data.sources import git, swebench
from rllm_assets.verification import Verifier
from rllm_assets.verification.discovery import Discovery, classify
from rllm_assets.verification.validation import LOW_QUALITY, validate_issues
from tests.data.repositories import calculator, commit
from tests.verification.repository import issue


@pytest.mark.parametrize(
    ("fixed", "buggy", "fail_to_pass", "pass_to_pass", "flaky"),
    [
        (["passed"] * 3, ["failed"] * 2, True, False, False),
        (["passed"] * 3, ["passed"] * 2, False, True, False),
        (["passed"] * 3, [None, None], True, False, False),
        (["passed"] * 3, ["skipped"] * 2, True, False, False),
        (["xfailed"] * 3, ["xfailed"] * 2, False, True, False),
        (["notrun"] * 3, ["failed"] * 2, False, False, False),
        (["skipped"] * 3, ["failed"] * 2, False, False, False),
        (["passed", "failed", "passed"], ["failed"] * 2, False, False, True),
        (["passed", None, "passed"], ["passed"] * 2, False, False, True),
        (["passed"] * 3, ["failed", "passed"], False, False, True),
        (["failed"] * 3, ["failed"] * 2, False, False, False),
    ],
)
def test_a_test_is_classified_by_all_of_its_runs(fixed, buggy, fail_to_pass, pass_to_pass, flaky):
    runs = [[{} if how is None else {"t": how} for how in hows] for hows in (fixed, buggy)]
    found = classify(*runs)
    assert found == Discovery(("t",) if fail_to_pass else (), ("t",) if pass_to_pass else (), ("t",) if flaky else ())


def test_a_mined_history_is_validated(tmp_path: Path, verifier: Verifier):
    made = calculator(tmp_path)
    crash = commit(
        tmp_path,
        "Fix the import",
        {"calc/late.py": "X = 1\n", "tests/test_late.py": "import nowhere\n\n\ndef test_late():\n    pass\n"},
    )
    fresh = commit(
        tmp_path,
        "Support thirds (fixes #9)",
        {
            "calc/third.py": "def third(n):\n    return n / 3\n",
            "tests/test_third.py": "from calc.third import third\n\n\ndef test_third():\n    assert third(3) == 1\n",
        },
    )
    mined = [row for row in git.read(tmp_path, "bench", repo="o/calc") if isinstance(row, Issue)]
    kept, rejected = validate_issues(mined, verifier)
    assert {i.source.file: (i.FAIL_TO_PASS, i.PASS_TO_PASS, i.labels) for i in kept} == {
        made["fix"]: (["tests/test_money.py::test_add"], ["tests/test_money.py::test_half"], ["#12"]),
        fresh: (["tests/test_third.py::test_third"], [], ["#9", LOW_QUALITY]),
    }
    assert {row.file: (row.category, row.field) for row in rejected} == {
        made["no proof"]: ("no_failing_test", "test_patch"),
        made["flaky"]: ("flaky", "test_patch"),
        crash: ("environment", "test_patch"),
    }
    reasons = {row.file: row.reason for row in rejected}
    assert "tests/test_late.py could not be collected: ModuleNotFoundError: No module named 'nowhere'" in reasons[crash]
    assert "passes only sometimes: tests/test_twice.py::test_twice[" in reasons[made["flaky"]]


def test_tests_that_an_issue_came_with_are_kept_where_they_can_be_relied_on(verifier: Verifier):
    right = issue()
    misnamed = issue(fail_to_pass=("test_gone",)).model_copy(update={"instance_id": "calc-2"})
    partly = right.model_copy(
        update={"instance_id": "calc-3", "PASS_TO_PASS": [*right.PASS_TO_PASS, "tests/test_money.py::test_gone"]}
    )
    no_fix = right.model_copy(update={"instance_id": "calc-4", "patch": "nothing"})
    kept, rejected = validate_issues([right, misnamed, partly, no_fix], verifier)
    assert [(i.instance_id, i.FAIL_TO_PASS, i.PASS_TO_PASS) for i in kept] == [
        ("calc-1", right.FAIL_TO_PASS, right.PASS_TO_PASS),
        ("calc-3", right.FAIL_TO_PASS, right.PASS_TO_PASS),
    ]
    assert [(row.category, row.field, row.reason) for row in rejected] == [
        (
            "no_failing_test",
            "FAIL_TO_PASS",
            "calc-2: none of its FAIL_TO_PASS fails before and passes after the fix: tests/test_money.py::test_gone",
        ),
        ("does_not_apply", "patch", "calc-4: its fix does not apply: there is no change in the diff"),
    ]


def test_an_issue_whose_tree_is_not_here_is_quarantined(verifier: Verifier, tmp_path: Path):
    calculator(tmp_path)
    row = issue()
    task = row.task.model_copy(update={"files": None})
    nowhere = row.model_copy(update={"task": task})
    source = row.source.model_copy(update={"repository": str(tmp_path)})
    other = nowhere.model_copy(update={"instance_id": "calc-2", "source": source, "base_commit": "0" * 40})
    kept, rejected = validate_issues([nowhere, other], verifier)
    assert kept == []
    assert [row.category for row in rejected] == ["environment", "environment"]
    assert rejected[0].reason == "calc-1 has no files to apply changes to: no clone of calc/calc is known"
    assert "calc-2: " in rejected[1].reason


@pytest.mark.slow
def test_rows_of_real_repositories(verifier: Verifier, test_data: Path):
    """The mined rows, where a directory of clones is named; each of them is found and verified again."""
    folder = os.environ.get("RLLM_TEST_CLONES")
    if not folder:
        pytest.skip("RLLM_TEST_CLONES names no directory of clones (owner__name): real repositories are not mined")
    rows = list(swebench.read(test_data / "issues" / "mined_real_fixes.jsonl", "bench", Path(folder)))
    issues = [row for row in rows if isinstance(row, Issue) and row.source.repository]
    assert issues
    kept, rejected = validate_issues(issues, verifier)
    assert [str(row) for row in rejected if isinstance(row, Rejected)] == []
    assert len(kept) == len(issues)
