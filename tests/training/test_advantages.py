"""Advantages against hand-computed numbers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.training.advantages import (
    GROUP_ADVANTAGES,
    gae,
    group,
    group_mean,
    group_positive,
    returns,
    rloo,
    whiten,
)

ONE_OF_EIGHT = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0])
rewards = st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=16).map(torch.tensor)


def test_group_divides_by_the_sample_deviation():
    deviation = math.sqrt((0.875**2 + 7 * 0.125**2) / 7)
    assert deviation == pytest.approx(0.353553, abs=1e-6)
    expected = [0.875 / (deviation + 1e-4)] + [-0.125 / (deviation + 1e-4)] * 7
    torch.testing.assert_close(group(ONE_OF_EIGHT), torch.tensor(expected))


def test_group_mean_only_centres():
    torch.testing.assert_close(group_mean(ONE_OF_EIGHT), torch.tensor([0.875] + [-0.125] * 7))


def test_rloo_compares_with_the_others():
    values = torch.tensor([1.0, 2.0, 6.0])
    torch.testing.assert_close(rloo(values), torch.tensor([1 - 4.0, 2 - 3.5, 6 - 1.5]))


def test_rloo_of_one_answer_is_its_reward():
    assert rloo(torch.tensor([3.0])).tolist() == [3.0]


@pytest.mark.parametrize("name", sorted(GROUP_ADVANTAGES))
@given(value=st.floats(-3, 3, width=32), size=st.integers(2, 12))
def test_equal_rewards_teach_exactly_nothing(name, value, size):
    assert GROUP_ADVANTAGES[name](torch.full((size,), value)).tolist() == [0.0] * size


def test_group_positive_leaves_failures_alone():
    expected = group(ONE_OF_EIGHT)[:1].tolist() + [0.0] * 7
    assert group_positive(ONE_OF_EIGHT).tolist() == expected
    assert group_positive(1 - ONE_OF_EIGHT).tolist() == pytest.approx([0.0] + [0.353454] * 7, abs=1e-6)


@pytest.mark.parametrize("name", ["group", "group_mean", "rloo"])
@given(values=rewards)
def test_advantages_sum_to_zero_and_keep_the_order(name, values):
    advantages = GROUP_ADVANTAGES[name](values)
    assert float(advantages.sum()) == pytest.approx(0, abs=1e-3)
    order = values.argsort()
    assert (advantages[order].diff() >= -1e-6).all()


def test_rewards_to_go_by_hand():
    assert returns(torch.tensor([-0.5, 0.0, 2.0]), 0.5).tolist() == [0.0, 1.0, 2.0]
    assert returns(torch.tensor([-0.5, 0.0, 2.0]), 1.0).tolist() == [1.5, 2.0, 2.0]


def test_gae_by_hand():
    """Three tokens, γ = 0.9, λ = 0.5: δ = (0.9·2-1, 0.9·4-2, 10-4) and the recursion backwards."""
    advantages, returns = gae(torch.tensor([0.0, 0.0, 10.0]), torch.tensor([1.0, 2.0, 4.0]), 0.9, 0.5)
    last = 6.0
    middle = 1.6 + 0.45 * last
    first = 0.8 + 0.45 * middle
    torch.testing.assert_close(advantages, torch.tensor([first, middle, last]))
    torch.testing.assert_close(returns, torch.tensor([first + 1, middle + 2, last + 4]))


@given(rewards, st.floats(0.5, 1))
def test_gae_with_lambda_one_is_the_discounted_return_less_the_value(values, discount):
    baseline = torch.linspace(-1, 1, len(values))
    advantages, returns = gae(values, baseline, discount, 1.0)
    expected = [sum(discount**k * float(r) for k, r in enumerate(values[t:])) for t in range(len(values))]
    torch.testing.assert_close(returns, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(advantages, returns - baseline)


def test_gae_with_lambda_zero_is_the_one_step_error():
    advantages, _ = gae(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25]), 1.0, 0.0)
    assert advantages.tolist() == [1 + 0.25 - 0.5, 2 - 0.25]


def test_whitening_is_over_the_whole_batch():
    parts = whiten([torch.tensor([1.0, 2.0]), torch.tensor([3.0])])
    flat = torch.cat(parts)
    assert [len(part) for part in parts] == [2, 1]
    assert float(flat.mean()) == pytest.approx(0, abs=1e-6)
    assert float(flat.std()) == pytest.approx(1, abs=1e-6)


def test_whitening_constant_advantages_gives_zeros():
    assert torch.cat(whiten([torch.full((3,), 0.1), torch.full((2,), 0.1)])).tolist() == [0.0] * 5
