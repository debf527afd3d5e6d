"""From rollouts to training samples: advantages, filtering, and groups that fit a forward pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rllm_assets.rollouts import Rollout
from rllm_assets.training.advantages import GROUP_ADVANTAGES
from rllm_assets.training.algorithms import Algorithm


@dataclass(frozen=True)
class TrainingSample:
    """One answer as the update sees it; tensors are one number a token, on the CPU."""

    group: int
    prompt_ids: list[int]
    response_ids: list[int]
    sampler_logprobs: Tensor
    reward: float
    finished: bool
    advantages: Tensor
    returns: Tensor | None = None
    old_values: Tensor | None = None
    old_logprobs: Tensor | None = None
    reference_logprobs: Tensor | None = None

    @property
    def length(self) -> int:
        """Response tokens."""
        return len(self.response_ids)


def to_samples(groups: Sequence[Sequence[Rollout]]) -> list[TrainingSample]:
    """Return the rollouts that have a verdict as samples without advantages; the others are masked from training."""
    return [
        TrainingSample(
            group=number,
            prompt_ids=rollout.prompt_ids,
            response_ids=rollout.sample.token_ids,
            sampler_logprobs=torch.tensor(rollout.sample.logprobs),
            reward=rollout.reward,
            finished=rollout.sample.finished,
            advantages=torch.zeros(len(rollout.sample.token_ids)),
        )
        for number, group in enumerate(groups)
        for rollout in group
        if rollout.reward is not None
    ]


def with_group_advantages(
    samples: Sequence[TrainingSample], algorithm: Algorithm, penalties: Sequence[float]
) -> list[TrainingSample]:
    """Return the samples with one advantage for all tokens of an answer, computed within its group.

    Args:
        samples: any number of groups.
        algorithm: names the estimator and says whether overlong answers are filtered.
        penalties: what is taken from each sample's reward before, such as a KL.
    """
    estimate = GROUP_ADVANTAGES[algorithm.advantage]
    by_group: dict[int, list[int]] = {}
    for index, sample in enumerate(samples):
        by_group.setdefault(sample.group, []).append(index)
    advantages = torch.zeros(len(samples))
    for members in by_group.values():
        advantages[members] = estimate(torch.tensor([samples[i].reward - penalties[i] for i in members]))
    return [
        replace(
            sample, advantages=torch.full((sample.length,), 0.0 if _is_overlong(sample, algorithm) else float(value))
        )
        for sample, value in zip(samples, advantages, strict=True)
    ]


def _is_overlong(sample: TrainingSample, algorithm: Algorithm) -> bool:
    return algorithm.overlong_filtering and not sample.finished and sample.reward == 0


def micro_batches(samples: Sequence[TrainingSample], max_tokens: int) -> Iterator[list[list[TrainingSample]]]:
    """Cut samples into micro-batches of whole prompts with some of their answers, `max_tokens` each where one answer allows it.

    Groups of like length come together. A group that is too large is cut, and its prompt computed once a part.
    """
    parts: list[list[TrainingSample]] = []
    by_group: dict[int, list[TrainingSample]] = {}
    for sample in samples:
        by_group.setdefault(sample.group, []).append(sample)
    for members in by_group.values():
        part: list[TrainingSample] = []
        for sample in sorted(members, key=lambda s: s.length):
            if part and _tokens([*part, sample]) > max_tokens:
                parts.append(part)
                part = []
            part.append(sample)
        parts.append(part)
    batch: list[list[TrainingSample]] = []
    for part in sorted(parts, key=_tokens):
        if batch and sum(map(_tokens, batch)) + _tokens(part) > max_tokens:
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def _tokens(part: Sequence[TrainingSample]) -> int:
    return len(part[0].prompt_ids) + sum(sample.length for sample in part)
