"""Advantage estimators: how much better than expected an answer was.

Shape suffixes: G answers to one prompt, T tokens of one answer.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

# TRL's ε; verl and SkyRL use 1e-6. It matters only where rewards hardly differ.
EPSILON = 1e-4


def group(rewards_G: Tensor) -> Tensor:
    """Return ``(r - mean) / (std + ε)`` within the group, with Bessel's correction (GRPO, arXiv 2402.03300, as TRL)."""
    if _uniform(rewards_G):
        return torch.zeros_like(rewards_G)
    return (rewards_G - rewards_G.mean()) / (rewards_G.std() + EPSILON)


def group_mean(rewards_G: Tensor) -> Tensor:
    """Return ``r - mean`` within the group, without the bias of dividing by its deviation (Dr. GRPO, arXiv 2503.20783)."""
    if _uniform(rewards_G):
        return torch.zeros_like(rewards_G)
    return rewards_G - rewards_G.mean()


def group_positive(rewards_G: Tensor) -> Tensor:
    """Return the `group` advantage of answers above their group's mean and 0 for the others.

    What failed is left alone, as in rejection-sampling fine-tuning (RAFT, arXiv 2304.06767), and rare successes weigh more, as
    in GRPO. It costs half as much, and a few steps with large learning rates do less harm to what the model knows
    (arXiv 2504.11343 compares them).
    """
    return group(rewards_G).clamp(min=0)


def rloo(rewards_G: Tensor) -> Tensor:
    """Return each reward less the mean of the others, ``G / (G - 1) · (r - mean)`` (RLOO, arXiv 2402.14740)."""
    size = len(rewards_G)
    if size == 1:
        return rewards_G.clone()
    return group_mean(rewards_G) * size / (size - 1)


GROUP_ADVANTAGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "group": group,
    "group_positive": group_positive,
    "group_mean": group_mean,
    "rloo": rloo,
}


def _uniform(rewards_G: Tensor) -> bool:
    # Decided on the raw rewards: rounding in the mean would leave a small deviation to be blown up.
    return bool(rewards_G.max() == rewards_G.min())


def returns(rewards_T: Tensor, discount: float) -> Tensor:
    """Return the rewards to go of one answer, ``R_t = r_t + γ R_{t+1}``."""
    returns_T = torch.empty_like(rewards_T)
    following = 0.0
    for t in reversed(range(len(rewards_T))):
        returns_T[t] = following = rewards_T[t] + discount * following
    return returns_T


def gae(rewards_T: Tensor, values_T: Tensor, discount: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Return advantages and returns of one answer (generalized advantage estimation, arXiv 1506.02438, eq. 16).

    ``δ_t = r_t + γ V_{t+1} - V_t`` and ``A_t = δ_t + γ λ A_{t+1}``, with the value after the last token 0: an answer that was
    cut at the length limit has ended too. The returns are ``A + V``.

    Args:
        rewards_T: reward at each token; the reward of the answer stands at its last token.
        values_T: the critic's value before each token.
        discount: γ.
        gae_lambda: λ.
    """
    advantages_T = torch.empty_like(values_T)
    following_value = following_advantage = 0.0
    for t in reversed(range(len(values_T))):
        delta = rewards_T[t] + discount * following_value - values_T[t]
        advantages_T[t] = following_advantage = delta + discount * gae_lambda * following_advantage
        following_value = values_T[t]
    return advantages_T, advantages_T + values_T


def whiten(advantages: Sequence[Tensor]) -> list[Tensor]:
    """Return advantages with mean 0 and standard deviation 1 over all tokens of the batch; constant ones become 0."""
    flat = torch.cat(list(advantages))
    if len(flat) < 2 or _uniform(flat):
        return [torch.zeros_like(part) for part in advantages]
    mean, deviation = flat.mean(), flat.std()
    return [(part - mean) / (deviation + 1e-8) for part in advantages]
