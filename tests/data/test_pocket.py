"""The bundled benchmark is what the documentation says, and every fix resolves where no bug does."""

from collections import Counter
from datetime import date

import pytest

from rllm_assets.data.benchmarks import find_benchmark
from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.sources import load_issues
from rllm_assets.data.splits import split_issues
from rllm_assets.evaluation.compare import spread
from rllm_assets.verification import Verifier

KINDS = {
    "boundary",
    "wrong operator",
    "wrong variable",
    "missed edge case",
    "mutable default",
    "early return",
    "wrong order",
    "type confusion",
}


@pytest.fixture(scope="module")
def pocket():
    issues, rejected = load_issues(find_benchmark("pocket"))
    assert rejected == []
    return issues


def tasks(issues):
    return [issue.task for issue in issues if isinstance(issue.task, FunctionTask)]


def test_its_size_is_what_the_documentation_says(pocket):
    assert len(pocket) == 345
    assert len({issue.group for issue in pocket}) == 72
    assert len({task.module for task in tasks(pocket)}) == 8


def test_every_issue_is_whole(pocket):
    assert len({issue.instance_id for issue in pocket}) == len(pocket)
    assert {label for issue in pocket for label in issue.labels} == KINDS
    for issue in pocket:
        assert len(issue.task.cases) >= 6, issue.instance_id
        assert date.fromisoformat(issue.created_at), issue.instance_id
        title, _, body = issue.problem_statement.partition("\n")
        assert title, issue.instance_id
        assert 14 <= len(body.split()) <= 60, issue.instance_id


def test_later_numbers_were_opened_later(pocket):
    in_order = sorted(pocket, key=lambda issue: int(issue.instance_id.rpartition("-")[2]))
    dates = [issue.created_at for issue in in_order]
    assert dates == sorted(dates)


def test_no_report_holds_its_fix(pocket):
    for issue in pocket:
        buggy, fixed = (Counter(code.splitlines()) for code in (issue.task.buggy_code, issue.task.fixed_code))
        for line in fixed - buggy:
            # "return None" is what a reporter expects as much as it is a line of code.
            assert len(line.strip()) < 12 or line.strip() not in issue.problem_statement, issue.instance_id


def test_enough_is_held_out(pocket):
    config = find_benchmark("pocket").resolve().config
    compared = spread(split_issues(pocket, config.splits).val, config.evaluation.max_issues)
    assert len(compared) >= 48
    assert len({issue.group for issue in compared}) >= 16
    assert config.evaluation.samples == 8


def test_every_fix_resolves_and_no_bug_does(pocket):
    with Verifier() as verifier:
        fixes = verifier.verify_many([(task, task.fixed_code) for task in tasks(pocket)])
        bugs = verifier.verify_many([(task, task.buggy_code) for task in tasks(pocket)])
    assert [i.instance_id for i, v in zip(pocket, fixes, strict=True) if not v.resolved] == []
    assert [i.instance_id for i, v in zip(pocket, bugs, strict=True) if v.status not in ("failed", "timeout")] == []
