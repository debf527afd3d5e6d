"""Rewards: what each term says, how they add up, and what is never rewarded."""

import pytest

from rllm_assets.config import RewardsConfig
from rllm_assets.data.verdicts import Verdict
from rllm_assets.rewards import Judged, Scorer
from rllm_assets.rewards.score import ScoreError
from tests.training.small_runs import issue


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
    score = Scorer(RewardsConfig(terms={"resolved": 1.0, "format": 0.1, "length": 0.2}), for_training=True).score(
        answer
    )
    assert score.reward == pytest.approx(1.0 + 0.1 - 0.1)
    assert score.terms == {"resolved": 1.0, "format": 1.0, "length": -0.5}


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
