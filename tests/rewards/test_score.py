"""Rewards: what each term says, how they add up, and what is never rewarded."""

from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from rllm_assets.config import RewardsConfig
from rllm_assets.data.verdicts import Verdict
from rllm_assets.rewards import Judged, Scorer, score
from rllm_assets.rewards.quality import changed_lines
from rllm_assets.rewards.score import ENTRY_POINTS, ScoreError
from tests.training.small_runs import issue
from tests.verification.repository import issue as repository_issue


def judged(status="failed", *, candidate="def f(): pass", tokens=10, limit=100, **verdict):
    return Judged(issue(1), "answer", candidate, Verdict(status=status, **verdict), tokens, limit, True)


def reward(terms, answer, **config):
    return Scorer(RewardsConfig(terms=terms, **config), for_training=True).score(answer).reward


@pytest.mark.parametrize(
    ("status", "expected"), [("resolved", 1.0), ("failed", 0.0), ("timeout", 0.0), ("out_of_memory", 0.0)]
)
def test_the_sparse_reward_is_all_or_nothing(status, expected):
    assert reward({"resolved": 1.0}, judged(status, tests_passed=6, tests_total=7)) == expected


def test_passed_cases_count_in_part():
    assert reward({"tests_passed": 1.0}, judged(tests_passed=3, tests_total=4)) == 0.75
    assert reward({"tests_passed": 1.0}, judged("invalid_patch", candidate=None)) == 0.0


def test_a_candidate_that_could_be_read_has_the_format():
    assert reward({"format": 1.0}, judged()) == 1.0
    assert reward({"format": 1.0}, judged("invalid_patch", candidate=None)) == 0.0


@pytest.mark.parametrize(("tokens", "expected"), [(80, 0.0), (90, -0.5), (100, -1.0), (120, -1.0)])
def test_overlong_answers_lose_softly(tokens, expected):
    assert reward({"length": 1.0}, judged(tokens=tokens)) == pytest.approx(expected)


def test_terms_add_up_by_weight_and_are_reported():
    answer = judged("resolved", tests_passed=4, tests_total=4, tokens=90)
    scored = Scorer(RewardsConfig(terms={"resolved": 1.0, "format": 0.1, "length": 0.2}), for_training=True).score(
        answer
    )
    assert scored.reward == pytest.approx(1.0 + 0.1 - 0.1)
    assert scored.terms == {"resolved": 1.0, "format": 1.0, "length": -0.5}


def test_without_a_verdict_there_is_no_reward():
    assert reward({"format": 1.0}, judged("no_verdict", reason="the worker died")) is None


def test_a_verdict_that_could_be_forged_does_not_train():
    answer = judged("resolved", in_process=True)
    with pytest.raises(ScoreError, match=r"issue-01 is judged in process.*rewards\.allow_in_process"):
        reward({"resolved": 1.0}, answer)
    assert reward({"resolved": 1.0}, answer, allow_in_process=True) == 1.0
    assert Scorer(RewardsConfig(), for_training=False).score(answer).reward == 1.0


def test_a_term_of_ones_own_is_found_by_its_path():
    assert reward({"tests.training.small_runs:variety": 1.0}, judged()) == pytest.approx(len(set("answer")) / 10)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resolvd", "unknown term 'resolvd'; known are resolved"),
        ("nowhere.at_all:term", "'nowhere.at_all:term' cannot be imported"),
        ("tests.training.small_runs:nothing", "cannot be imported"),
    ],
)
def test_a_term_that_is_none_is_named(name, message):
    with pytest.raises(ScoreError, match=message):
        Scorer(RewardsConfig(terms={name: 1.0}), for_training=True)


def test_a_term_that_gives_no_number_is_named():
    with pytest.raises(
        ScoreError, match=r"rewards\.terms\.tests\.rewards\.test_score:nothing returned nan for issue-01"
    ):
        reward({"tests.rewards.test_score:nothing": 1.0}, judged())


def nothing(_):
    return float("nan")


def test_a_repositorys_tests_count_where_nothing_breaks():
    answer = judged(tests_passed=5, tests_total=6)
    asked = repository_issue(fail_to_pass=("test_add", "test_more", "test_most"))
    answer = replace(answer, issue=asked.model_copy(update={"PASS_TO_PASS": ["t::a", "t::b", "t::c"]}))
    assert reward({"tests_passed": 1.0}, answer) == pytest.approx(2 / 3)
    broken = replace(answer, verdict=answer.verdict.model_copy(update={"tests_broken": 1}))
    assert reward({"tests_passed": 1.0}, broken) == 0.0
    none = replace(answer, verdict=Verdict(status="invalid_patch", tests_total=6))
    assert reward({"tests_passed": 1.0}, none) == 0.0


def with_code(buggy: str, fixed: str, candidate: str | None) -> Judged:
    answer = judged("failed" if candidate else "invalid_patch", candidate=candidate)
    task = answer.issue.task.model_copy(update={"module": "text", "buggy_code": buggy, "fixed_code": fixed})
    return replace(answer, issue=answer.issue.model_copy(update={"task": task}))


def test_patch_similarity_compares_changes():
    """The diffs are ``@@ -1,2 +1,2 @@ / def f(x): / -    return x / +    return x + 1`` and the same with ``- 1``."""
    buggy, fixed = "def f(x):\n    return x\n", "def f(x):\n    return x + 1\n"
    assert reward({"patch_similarity": 1.0}, with_code(buggy, fixed, fixed)) == 1.0
    assert reward({"patch_similarity": 1.0}, with_code(buggy, fixed, buggy)) == 0.0
    assert reward({"patch_similarity": 1.0}, with_code(buggy, fixed, None)) == -1.0
    length = len("@@ -1,2 +1,2 @@\n def f(x):\n-    return x\n+    return x + 1")
    assert reward({"patch_similarity": 1.0}, with_code(buggy, fixed, fixed.replace("+ 1", "- 1"))) == pytest.approx(
        2 * (length - 1) / (2 * length)
    )


def test_patch_similarity_is_a_mean_over_the_files_of_either_change():
    asked = repository_issue()
    answer = replace(judged(candidate=asked.patch), issue=asked)
    assert reward({"patch_similarity": 1.0}, answer) == 1.0
    more = asked.patch + "--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-calc\n+Calc\n"
    assert reward({"patch_similarity": 1.0}, replace(answer, candidate=more)) == 0.5
    assert reward({"patch_similarity": 1.0}, replace(answer, candidate="no patch")) == -1.0


def test_code_quality_counts_findings_on_changed_lines_alone():
    buggy = "def f(x):\n    import os\n    return x\n"
    clean = buggy.replace("return x", "return x + 1")
    assert reward({"code_quality": 1.0}, with_code(buggy, clean, clean)) == 1.0
    unused = buggy.replace("    return x\n", "    y = 1\n    return x + 1\n")
    assert reward({"code_quality": 1.0}, with_code(buggy, clean, unused)) == 0.5
    assert reward({"code_quality": 1.0}, with_code(buggy, clean, None)) == 0.0


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("    y = 1  # noqa\n    return x + 1\n", 0.5),
        ("    # ruff: noqa\n    y = 1\n    return x + 1\n", 2 / 3),
        ("    y = (\n    return x + 1\n", 0.0),
    ],
)
def test_code_quality_cannot_be_talked_into(lines, expected):
    """What silences ruff, and what keeps it from finding anything, earns nothing."""
    buggy = "def f(x):\n    return x\n"
    candidate = "def f(x):\n" + lines
    assert reward({"code_quality": 1.0}, with_code(buggy, buggy, candidate)) == pytest.approx(expected)


def test_changed_lines_by_number():
    assert changed_lines("a\nb\nc\n", "a\nB\nc\nd\n") == {2, 4}
    assert changed_lines("", "x\n") == {1}


def doubled(answer: Judged) -> float:
    return 2.0 * answer.verdict.resolved


def test_a_term_of_ones_own_by_import_path_and_by_entry_point(monkeypatch):
    path = "tests.rewards.test_score:doubled"
    assert reward({path: 1.0}, judged("resolved")) == 2.0
    points = EntryPoints([EntryPoint("twice", path, ENTRY_POINTS)])
    monkeypatch.setattr(score.metadata, "entry_points", lambda group: points.select(group=group))
    assert reward({"twice": 0.5}, judged("resolved")) == 1.0
    with pytest.raises(
        ScoreError, match=r"unknown term 'thrice'; known are resolved, .*, twice, or give module:function"
    ):
        reward({"thrice": 1.0}, judged())
    with pytest.raises(ScoreError, match="'nowhere:term' cannot be imported"):
        reward({"nowhere:term": 1.0}, judged())
