"""How often a step asks for rollouts, and what it keeps."""

from types import SimpleNamespace

import pytest

from rllm_assets.training.rounds import is_informative, sample_rounds


def group(*rewards):
    return [SimpleNamespace(reward=reward) for reward in rewards]


UNIFORM, MIXED = group(1.0, 1.0, None), group(0.0, None, 1.0)


def asked(*answers):
    """Rounds of groups, and a record of what was asked."""
    rounds, calls = iter(answers), []

    def ask(wanted, offset):
        calls.append((wanted, offset))
        new = next(rounds)
        assert len(new) == wanted
        return new

    return ask, calls


def test_a_group_is_informative_when_its_rewards_differ():
    assert is_informative(MIXED)
    assert not is_informative(UNIFORM)
    assert not is_informative(group(None, None))


def test_one_round_takes_what_comes():
    ask, calls = asked([UNIFORM, MIXED])
    found = sample_rounds(ask, 2, 1, drop_uniform=False)
    assert (found.groups, found.kept, found.rounds, calls) == ([UNIFORM, MIXED], [UNIFORM, MIXED], 1, [(2, 0)])


def test_uniform_groups_can_be_dropped_without_asking_again():
    ask, _ = asked([UNIFORM, MIXED])
    assert sample_rounds(ask, 2, 1, drop_uniform=True).kept == [MIXED]


def test_it_asks_for_what_is_missing_until_there_is_enough():
    ask, calls = asked([UNIFORM, MIXED, UNIFORM], [MIXED, UNIFORM], [MIXED])
    found = sample_rounds(ask, 3, 5, drop_uniform=False)
    assert calls == [(3, 0), (2, 3), (1, 5)]
    assert (len(found.groups), found.kept, found.rounds) == (6, [MIXED] * 3, 3)


def test_it_stops_asking_after_the_last_round():
    ask, calls = asked([UNIFORM, UNIFORM], [UNIFORM, MIXED])
    found = sample_rounds(ask, 2, 2, drop_uniform=False)
    assert (len(calls), found.kept, found.rounds) == (2, [MIXED], 2)


def test_no_round_is_an_error():
    with pytest.raises(ValueError, match="at least one round"):
        sample_rounds(lambda *_: [], 2, 0, drop_uniform=False)
