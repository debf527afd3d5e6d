"""Losses over tokens; every function returns one number a token, aggregation is by weights.

The weights already hold the normalizer of the whole optimizer step, so micro-batches only ever sum: the gradient is the same
however a batch is cut.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# exp(20) is finite in fp32, and a ratio that far out is noise already.
MAX_LOG_RATIO = 20.0


@dataclass(frozen=True)
class PolicyLoss:
    """Loss of each token and whether its ratio was clipped."""

    per_token: Tensor
    clipped: Tensor


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> PolicyLoss:
    """Return ``max(-A ρ, -A clip(ρ, 1 - low, 1 + high))`` with ``ρ = exp(logπ - logπ_old)`` (PPO, arXiv 1707.06347, eq. 7;
    asymmetric clipping as in DAPO, arXiv 2503.14476).

    With a dual clip ``c`` it is at most ``-A c`` where A is negative (arXiv 1912.09729, eq. 5): otherwise an answer that has
    become much more probable since it was sampled, and was bad, would outweigh all others.
    """
    ratio = (logprobs - old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    per_token, is_clipped = torch.maximum(unclipped, clipped), clipped > unclipped
    if dual_clip is not None:
        limit = torch.where(advantages < 0, -advantages * dual_clip, torch.inf)
        is_clipped = is_clipped | (per_token > limit)
        per_token = torch.minimum(per_token, limit)
    return PolicyLoss(per_token, is_clipped)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Return ``½ max((V - R)², (clip(V, V_old ± c) - R)²)`` (PPO's value loss as in verl's `compute_value_loss`)."""
    limited = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (limited - returns).square())


def _k1(difference: Tensor) -> Tensor:
    return difference


def _k2(difference: Tensor) -> Tensor:
    return 0.5 * difference.square()


def _k3(difference: Tensor) -> Tensor:
    return torch.exp(-difference) + difference - 1


_KL_ESTIMATORS: Mapping[str, Callable[[Tensor], Tensor]] = {"k1": _k1, "k2": _k2, "k3": _k3}


def kl(logprobs: Tensor, reference_logprobs: Tensor, estimator: str) -> Tensor:
    """Return an estimate of KL(π ‖ π_ref) at each token (joschu.net/blog/kl-approx.html), with ``d = logπ - logπ_ref``.

    ``k1 = d`` belongs into the reward, where it is unbiased; in a loss its expected gradient is zero. ``k2 = d²/2`` and
    ``k3 = e^-d + d - 1`` go into the loss.
    """
    difference = (logprobs - reference_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return _KL_ESTIMATORS[estimator](difference)


def importance_weights(old_logprobs: Tensor, sampler_logprobs: Tensor, cap: float) -> Tensor:
    """Return ``min(π_old / μ, cap)``, which corrects for the sampler's own arithmetic (truncated importance sampling)."""
    log_ratio = (old_logprobs - sampler_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio.exp().clamp(max=cap)


@dataclass(frozen=True)
class StepShape:
    """What the normalizers of one optimizer step need to know: over all its answers on all workers, masked ones left out."""

    answers: int
    tokens: int
    max_response_tokens: int


def _token_mean(length: int, shape: StepShape) -> float:
    return 1.0 / shape.tokens


def _sequence_mean(length: int, shape: StepShape) -> float:
    return 1.0 / (length * shape.answers)


def _fixed_length(length: int, shape: StepShape) -> float:
    return 1.0 / (shape.max_response_tokens * shape.answers)


# DAPO's Σ/N, GRPO's mean of means, Dr. GRPO's Σ/(B·Lmax).
_AGGREGATIONS: Mapping[str, Callable[[int, StepShape], float]] = {
    "token_mean": _token_mean,
    "sequence_mean": _sequence_mean,
    "fixed_length": _fixed_length,
}


def token_weights(aggregation: str, lengths: Sequence[int], shape: StepShape, device: torch.device) -> Tensor:
    """Return the weight of each token, so that ``(weights · losses).sum()`` over the step is the aggregated loss."""
    weight_of = _AGGREGATIONS[aggregation]
    weights = torch.tensor([weight_of(length, shape) for length in lengths], device=device)
    return weights.repeat_interleave(torch.tensor(lengths, device=device))
