"""The order of issues: every one in turn, or those first that can teach something."""

import json
from collections import Counter

import pytest

from rllm_assets.training.curriculum import Curriculum

IDS = [f"i{n:02d}" for n in range(20)]
TRIES = {i: [n % 4 == 0, n % 2 == 0, n % 4 == 0, n % 2 == 0] for n, i in enumerate(IDS)}  # 1, 0, 1/2, 0, 1, ...


def test_uniform_takes_each_once_before_any_twice():
    curriculum = Curriculum(IDS, "uniform", 0)
    drawn = [curriculum.next(8) for _ in range(5)]
    assert Counter(i for batch in drawn for i in batch) == Counter(dict.fromkeys(IDS, 2))
    assert Counter([*drawn[0], *drawn[1], *drawn[2][:4]]) == Counter(IDS)


def test_issues_that_are_solved_sometimes_come_first():
    firsts = Counter(i for seed in range(200) for i in Curriculum(IDS, "solve_rate", seed, TRIES).next(5))
    sometimes, always, never = IDS[2::4], IDS[0::4], IDS[1::2]
    share = [sum(firsts[i] for i in ids) / len(ids) for ids in (sometimes, always, never)]
    assert share[0] > 1.2 * share[1] > 1.2 * share[2] > 0
    assert min(firsts.values()) > 0
    assert len(firsts) == len(IDS)


def test_an_issue_that_was_drawn_waits_for_the_others():
    curriculum = Curriculum(IDS[:6], "solve_rate", 3)
    assert sorted(curriculum.next(6)) == IDS[:6]
    counts = Counter(i for _ in range(100) for i in curriculum.next(3))
    assert all(35 <= counts[i] <= 65 for i in IDS[:6])


def test_a_mastered_issue_is_drawn_less():
    curriculum = Curriculum(IDS, "solve_rate", 0)
    for _ in range(10):
        curriculum.record(IDS[0], 1.0)
    counts = Counter(i for _ in range(100) for i in curriculum.next(4))
    assert counts[IDS[0]] < min(counts[i] for i in IDS[1:])


def test_few_rollouts_are_taken_with_caution():
    """One issue unsolved once, another unsolved eight times: the first is the likelier to teach."""
    tries = {"once": [False], "often": [False] * 8, "solved": [True] * 3}
    firsts = Counter(Curriculum(list(tries), "solve_rate", seed, tries).next(1)[0] for seed in range(600))
    assert firsts["once"] > 1.5 * firsts["often"]


@pytest.mark.parametrize("mode", ["uniform", "solve_rate"])
def test_more_issues_than_there_are(mode):
    assert Counter(Curriculum(IDS[:3], mode, 0).next(7)).keys() == set(IDS[:3])


@pytest.mark.parametrize("mode", ["uniform", "solve_rate"])
def test_it_goes_on_from_its_state(mode):
    one, other = (Curriculum(IDS, mode, 5, TRIES) for _ in range(2))
    one.next(7)
    one.record(IDS[3], 0.5)
    state = json.loads(json.dumps(one.state_dict()))
    expected = [one.next(6) for _ in range(4)]
    other.load_state_dict(state)
    assert [other.next(6) for _ in range(4)] == expected
