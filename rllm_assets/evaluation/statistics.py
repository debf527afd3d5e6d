"""Pass rates and paired comparisons; what is resampled are groups of issues, since issues on one function are alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Difference of two policies on the same issues; `p_value` is one-sided, for the difference being above zero."""

    difference: Estimate
    p_value: float
    groups: int
    issues: int


def pass_at_k(samples: int, resolved: int, k: int) -> float:
    """Return the unbiased estimate of pass@k from `samples` answers of which `resolved` are right (arXiv 2107.03374, eq. 1).

    Raises:
        ValueError: where k is not between 1 and `samples`.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {samples}")
    if samples - resolved < k:
        return 1.0
    return 1.0 - math.prod((samples - resolved - i) / (samples - i) for i in range(k))


def bootstrap(rates: Mapping[str, Sequence[float]], resamples: int, seed: int) -> Estimate:
    """Return the mean over all issues, its interval by resampling whole groups.

    Args:
        rates: for each group the values of its issues.
        resamples: how often the groups are drawn with replacement.
        seed: of the draws.
    """
    sums, counts = _sums(rates)
    means = _resampled_means(sums, counts, resamples, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high))


def compare(
    base: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]], resamples: int, seed: int
) -> Comparison:
    """Compare two policies issue by issue by a paired bootstrap over groups (Efron and Tibshirani 1993, chapter 16).

    The p-value is the share of resamples in which the difference is not above zero, counting the observed one.

    Raises:
        ValueError: where the two do not cover the same groups and issues.
    """
    if base.keys() != other.keys() or any(len(base[g]) != len(other[g]) for g in base):
        raise ValueError("the policies were not evaluated on the same issues")
    differences = {g: [o - b for b, o in zip(base[g], other[g], strict=True)] for g in base}
    sums, counts = _sums(differences)
    means = _resampled_means(sums, counts, resamples, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    estimate = Estimate(float(sums.sum() / counts.sum()), float(low), float(high))
    p_value = (1 + int((means <= 0).sum())) / (resamples + 1)
    return Comparison(estimate, p_value, len(counts), int(counts.sum()))


def mcnemar(base: Sequence[bool], other: Sequence[bool]) -> float:
    """Return the two-sided exact p-value for one greedy answer to each issue (McNemar 1947): a binomial test of the changes."""
    gained = sum(o and not b for b, o in zip(base, other, strict=True))
    lost = sum(b and not o for b, o in zip(base, other, strict=True))
    changes, fewer = gained + lost, min(gained, lost)
    if changes == 0:
        return 1.0
    tail = sum(math.comb(changes, i) for i in range(fewer + 1)) / 2**changes
    return min(1.0, 2 * tail)


def _sums(values: Mapping[str, Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    if not values:
        raise ValueError("there is nothing to compare: no issue was evaluated")
    groups = [values[group] for group in sorted(values)]
    return np.array([sum(group) for group in groups]), np.array([len(group) for group in groups])


def _resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(resamples, len(sums)))
    return sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
