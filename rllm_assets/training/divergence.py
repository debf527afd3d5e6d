"""How far a policy has moved from its base."""

from collections.abc import Sequence

import torch

from rllm_assets.models.policy import Policy
from rllm_assets.training.batches import TrainingSample, micro_batches, pack_samples
from rllm_assets.training.collective import Collective
from rllm_assets.training.losses import kl


@torch.no_grad()
def kl_to_base(
    policy: Policy,
    samples: Sequence[TrainingSample],
    temperature: float,
    micro_batch_tokens: int,
    collective: Collective,
) -> float | None:
    """Return the KL of the policy that sampled to its base, by k3, a mean over tokens; None without samples.

    It is measured on the first answer to each issue: a forward pass over all of them would cost a third of the update.
    """
    first: dict[int, TrainingSample] = {}
    for sample in samples:
        first.setdefault(sample.group, sample)
    mine = [sample for group, sample in first.items() if group % collective.size == collective.rank]
    total = 0.0
    with policy.reference():
        for batch in micro_batches(mine, micro_batch_tokens):
            packed = pack_samples(batch, policy.device)
            sampled = torch.cat([sample.sampler_logprobs for part in batch for sample in part]).to(policy.device)
            total += float(kl(sampled, policy.logprobs(packed, temperature)[0], "k3").sum())
    parts = collective.gather((total, sum(sample.length for sample in mine)))
    tokens = sum(count for _, count in parts)
    return sum(part for part, _ in parts) / tokens if tokens else None
