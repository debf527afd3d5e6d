"""Losses against hand-computed numbers and against the papers' formulas written out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.training.losses import (
    StepShape,
    clipped_policy_loss,
    clipped_value_loss,
    importance_weights,
    kl,
    token_weights,
)

numbers = st.floats(-2, 2, width=32)
CPU = torch.device("cpu")


def one(value):
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 1.0, -1.0, False),
        (1.5, 1.0, -1.28, True),  # the gain is cut at 1 + 0.28
        (1.5, -1.0, 1.5, False),  # a loss is never cut here
        (0.5, 1.0, -0.5, False),
        (0.5, -1.0, 0.8, True),  # cut at 1 - 0.2
        (1.2, 2.0, -2.4, False),  # between 1.2 and 1.28 the higher bound leaves it alone
    ],
)
def test_policy_loss_by_hand(ratio, advantage, loss, clipped):
    found = clipped_policy_loss(one(math.log(ratio)), one(0.0), one(advantage), 0.2, 0.28)
    assert found.per_token.item() == pytest.approx(loss)
    assert found.clipped.item() is clipped


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (5.0, -1.0, 3.0, True),  # a bad answer that became five times as probable counts three times
        (2.0, -1.0, 2.0, False),
        (5.0, 1.0, -1.28, True),  # good answers are clipped as ever
        (0.5, -1.0, 0.8, True),
        (5.0, 0.0, 0.0, False),
    ],
)
def test_dual_clip_by_hand(ratio, advantage, loss, clipped):
    found = clipped_policy_loss(one(math.log(ratio)), one(0.0), one(advantage), 0.2, 0.28, dual_clip=3.0)
    assert found.per_token.item() == pytest.approx(loss)
    assert found.clipped.item() is clipped


def test_a_clipped_token_has_no_gradient():
    """DeepCoder's release computed the clipped loss and then reduced the unclipped one."""
    logprobs = torch.tensor([math.log(1.5), math.log(1.1)], requires_grad=True)
    clipped_policy_loss(logprobs, torch.zeros(2), torch.ones(2), 0.2, 0.28).per_token.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.0, -1.1])


def test_on_policy_the_gradient_is_reinforce():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    advantages = torch.tensor([0.5, -3.0])
    clipped_policy_loss(logprobs, logprobs.detach(), advantages, 0.2, 0.2).per_token.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-0.5, 3.0]


@given(numbers, numbers, numbers)
def test_policy_loss_is_the_papers_minimum(new, old, advantage):
    ratio = math.exp(new - old)
    expected = -min(ratio * advantage, max(0.8, min(1.2, ratio)) * advantage)
    found = clipped_policy_loss(one(new), one(old), one(advantage), 0.2, 0.2).per_token.item()
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_huge_ratio_stays_finite():
    assert torch.isfinite(clipped_policy_loss(one(0.0), one(-1000.0), one(-1.0), 0.2, 0.2).per_token).all()


@pytest.mark.parametrize(
    ("value", "old", "target", "expected"),
    [
        (1.0, 1.0, 2.0, 0.5),
        (1.5, 1.0, 2.0, 0.5 * (1.2 - 2.0) ** 2),  # moving towards the target pays only up to the clip
        (0.0, 1.0, 2.0, 0.5 * 2.0**2),  # moving away costs in full
    ],
)
def test_value_loss_by_hand(value, old, target, expected):
    assert clipped_value_loss(one(value), one(old), one(target), 0.2).item() == pytest.approx(expected)


@given(numbers, numbers)
def test_kl_estimators_are_schulmans(new, reference):
    d = new - reference
    assert kl(one(new), one(reference), "k1").item() == pytest.approx(d)
    assert kl(one(new), one(reference), "k2").item() == pytest.approx(d * d / 2)
    assert kl(one(new), one(reference), "k3").item() == pytest.approx(math.exp(-d) - 1 + d, abs=1e-9)


def test_k3_is_unbiased_for_the_divergence():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    exact = (p * (p / q).log()).sum()
    for estimator in ("k1", "k3"):
        assert (p * kl(p.log(), q.log(), estimator)).sum().item() == pytest.approx(exact.item())


def test_importance_weights_are_cut_above_only():
    weights = importance_weights(torch.tensor([0.0, 1.0, -1.0]), torch.zeros(3), cap=2.0)
    assert weights.tolist() == pytest.approx([1.0, 2.0, math.exp(-1)])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("token_mean", [1 / 4] * 4),
        ("sequence_mean", [1 / 6, 1 / 6, 1 / 6, 1 / 2]),
        ("fixed_length", [1 / 20] * 4),
    ],
)
def test_token_weights_by_hand(name, expected):
    """Two answers of three tokens and of one, at most ten allowed."""
    found = token_weights(name, [3, 1], StepShape(answers=2, tokens=4, max_response_tokens=10), CPU)
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["token_mean", "sequence_mean"])
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_means_weigh_one_in_all(name, lengths):
    weights = token_weights(name, lengths, StepShape(len(lengths), sum(lengths), 9), CPU)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
