"""From rollouts to training samples: advantages, filtering, and groups that fit a forward pass."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rllm_assets.data.files import atomic_file
from rllm_assets.models.packing import Packed, pack
from rllm_assets.rollouts import Rollout
from rllm_assets.training.advantages import GROUP_ADVANTAGES, gae, returns, whiten
from rllm_assets.training.algorithms import Algorithm
from rllm_assets.training.records import TrainingError


@dataclass(frozen=True)
class TrainingSample:
    """One answer as the update sees it; tensors are one number a sampled token, on the CPU.

    A `masked` one counts in its group's statistics, and nowhere else. `given` says which of the response's tokens are
    observations, which are read and not learned.
    """

    group: int
    prompt_ids: list[int]
    response_ids: list[int]
    sampler_logprobs: Tensor
    reward: float
    finished: bool
    advantages: Tensor
    masked: bool = False
    returns: Tensor | None = None
    old_values: Tensor | None = None
    old_logprobs: Tensor | None = None
    reference_logprobs: Tensor | None = None
    given: tuple[bool, ...] | None = None

    @property
    def length(self) -> int:
        """Sampled tokens of the response."""
        return len(self.response_ids) - (sum(self.given) if self.given is not None else 0)


def to_samples(groups: Sequence[Sequence[Rollout]], compact_filtering: Sequence[str] = ()) -> list[TrainingSample]:
    """Return the rollouts that have a verdict as samples without advantages; the others are left out of training.

    Args:
        groups: the answers to each issue.
        compact_filtering: how answers ended that are masked: ``truncated``, or the status of a verdict (rLLM's name for it).

    Raises:
        TrainingError: for an answer that came as text: its tokens would have to be guessed.
    """
    if any(rollout.sample.tokens is not None for group in groups for rollout in group):
        raise TrainingError(
            "answers came as text, without the tokens that were sampled, and cannot be trained on token by token; sample "
            "from a server that gives token ids (vLLM 0.10.2 and newer), with trajectories.endpoint_api: completions"
        )
    return [
        TrainingSample(
            group=number,
            prompt_ids=rollout.prompt_ids,
            response_ids=rollout.sample.token_ids,
            sampler_logprobs=torch.tensor(rollout.sample.logprobs),
            reward=rollout.reward,
            finished=rollout.sample.finished,
            advantages=torch.zeros(rollout.sample.length),
            given=rollout.sample.given,
            masked=rollout.verdict.status in compact_filtering
            or ("truncated" in compact_filtering and not rollout.sample.finished),
        )
        for number, group in enumerate(groups)
        for rollout in group
        if rollout.reward is not None
    ]


def with_group_advantages(
    samples: Sequence[TrainingSample], algorithm: Algorithm, penalties: Sequence[Tensor]
) -> list[TrainingSample]:
    """Return the samples with one advantage for all tokens of an answer, computed within its group.

    Args:
        samples: any number of groups.
        algorithm: names the estimator and says whether overlong answers are filtered.
        penalties: what is taken from the reward at each token of each sample, such as a KL.
    """
    estimate = GROUP_ADVANTAGES[algorithm.advantage]
    by_group: dict[int, list[int]] = {}
    for index, sample in enumerate(samples):
        by_group.setdefault(sample.group, []).append(index)
    advantages = torch.zeros(len(samples))
    for members in by_group.values():
        advantages[members] = estimate(torch.tensor([samples[i].reward - float(penalties[i].sum()) for i in members]))
    per_token = [torch.full((sample.length,), float(value)) for sample, value in zip(samples, advantages, strict=True)]
    return _filtered(samples, per_token, algorithm)


def with_batch_advantages(
    samples: Sequence[TrainingSample], algorithm: Algorithm, penalties: Sequence[Tensor], discount: float
) -> list[TrainingSample]:
    """Return the samples with their rewards to go, whitened over all tokens of the batch (REINFORCE++, arXiv 2501.03262)."""
    to_go = [returns(_rewards(sample, penalty), discount) for sample, penalty in zip(samples, penalties, strict=True)]
    return _filtered(samples, whiten(to_go) if to_go else [], algorithm)


def with_critic_advantages(
    samples: Sequence[TrainingSample], penalties: Sequence[Tensor], discount: float, gae_lambda: float
) -> tuple[list[TrainingSample], float]:
    """Return the samples, whose values are known, with whitened advantages and with returns; and the explained variance.

    That is the share of the returns' variance that the critic foresaw: 1 for all of it, 0 for none.
    """
    values = [_known(sample.old_values) for sample in samples]
    estimates = [
        gae(_rewards(sample, penalty), value, discount, gae_lambda)
        for sample, penalty, value in zip(samples, penalties, values, strict=True)
    ]
    if not estimates:
        return [], 0.0
    advantages, targets = zip(*estimates, strict=True)
    flat = torch.cat(targets)
    variance = float(flat.var()) if len(flat) > 1 else 0.0
    explained = 1 - float((flat - torch.cat(values)).var()) / variance if variance > 0 else 0.0
    return [
        replace(sample, advantages=advantage, returns=target)
        for sample, advantage, target in zip(samples, whiten(advantages), targets, strict=True)
    ], explained


def _rewards(sample: TrainingSample, penalty: Tensor) -> Tensor:
    """Return the reward at each token: an answer's stands at its last."""
    rewards = -penalty
    rewards[-1] += sample.reward
    return rewards


def _filtered(
    samples: Sequence[TrainingSample], advantages: Sequence[Tensor], algorithm: Algorithm
) -> list[TrainingSample]:
    return [
        replace(sample, advantages=torch.zeros_like(advantage) if _is_overlong(sample, algorithm) else advantage)
        for sample, advantage in zip(samples, advantages, strict=True)
    ]


def _known(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "measured before"
    return tensor


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


def pack_samples(batch: Sequence[Sequence[TrainingSample]], device: torch.device) -> Packed:
    """Pack a micro-batch for a forward pass."""
    groups = [(part[0].prompt_ids, [sample.response_ids for sample in part]) for part in batch]
    return pack(groups, device, [[sample.given for sample in part] for part in batch])


def save_batch(path: Path, samples: Sequence[TrainingSample]) -> None:
    """Write samples as JSON, to look at."""
    rows = [
        {
            "group": sample.group,
            "prompt_ids": sample.prompt_ids,
            "response_ids": sample.response_ids,
            "given": sample.given,
            "sampler_logprobs": sample.sampler_logprobs.tolist(),
            "reward": sample.reward,
            "finished": sample.finished,
        }
        for sample in samples
    ]
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(rows), encoding="utf-8")


def _tokens(part: Sequence[TrainingSample]) -> int:
    return len(part[0].prompt_ids) + sum(len(sample.response_ids) for sample in part)
