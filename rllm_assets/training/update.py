"""One batch of samples to one or more optimizer steps."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from rllm_assets.config import TrainingConfig
from rllm_assets.models.packing import Packed
from rllm_assets.models.policy import Policy
from rllm_assets.training.algorithms import Algorithm
from rllm_assets.training.batches import (
    TrainingSample,
    micro_batches,
    pack_samples,
    with_batch_advantages,
    with_critic_advantages,
    with_group_advantages,
)
from rllm_assets.training.collective import Collective
from rllm_assets.training.losses import (
    StepShape,
    clipped_policy_loss,
    clipped_value_loss,
    importance_weights,
    kl,
    token_weights,
)


class BadLossError(RuntimeError):
    """The loss was no number several times in a row."""


@dataclass
class UpdateMetrics:
    """Sums over the tokens that were trained on; `means` turns them into what is reported."""

    tokens: int = 0
    loss: float = 0.0
    entropy: float = 0.0
    clipped: float = 0.0
    kl_sampler: float = 0.0
    importance: float = 0.0
    value_loss: float = 0.0
    grad_norms: list[float] = field(default_factory=list)
    critic_grad_norms: list[float] = field(default_factory=list)
    bad_losses: int = 0
    explained_variance: float | None = None

    def means(self) -> dict[str, float]:
        """Return the metrics of the step by name; those that were not measured are left out."""
        tokens = max(1, self.tokens)
        metrics = {
            "loss": self.loss,
            "trained_tokens": float(self.tokens),
            "entropy": self.entropy / tokens,
            "clip_fraction": self.clipped / tokens,
            "kl_sampler": self.kl_sampler / tokens,
            "importance_weight": self.importance / tokens,
            "bad_losses": float(self.bad_losses),
        }
        if self.tokens == 0:
            metrics = {"trained_tokens": 0.0, "bad_losses": float(self.bad_losses)}
        if self.grad_norms:
            metrics["grad_norm"] = sum(self.grad_norms) / len(self.grad_norms)
        if self.critic_grad_norms:
            metrics["value_loss"] = self.value_loss
            metrics["critic_grad_norm"] = sum(self.critic_grad_norms) / len(self.critic_grad_norms)
        if self.explained_variance is not None:
            metrics["explained_variance"] = self.explained_variance
        return metrics


@dataclass(frozen=True)
class Optimizers:
    """The optimizers of policy and critic, which never share a parameter."""

    policy: torch.optim.Optimizer
    critic: torch.optim.Optimizer | None

    @classmethod
    def for_policy(cls, policy: Policy, config: TrainingConfig) -> "Optimizers":
        """Return fresh AdamW optimizers."""
        decay, critic = config.weight_decay, policy.critic_parameters()
        return cls(
            torch.optim.AdamW(policy.policy_parameters(), lr=config.learning_rate, weight_decay=decay, fused=True),
            torch.optim.AdamW(critic, lr=config.critic_learning_rate, weight_decay=decay, fused=True)
            if critic
            else None,
        )


_SUMS = ("tokens", "loss", "entropy", "clipped", "kl_sampler", "importance", "value_loss")


def _merged(parts: Sequence[UpdateMetrics]) -> UpdateMetrics:
    """Add up the workers' sums; of the rest, each worker knows the whole."""
    return replace(parts[0], **{name: sum(getattr(part, name) for part in parts) for name in _SUMS})


class Updater:
    """Moves the policy, and the critic where there is one, by a batch of samples.

    Attributes:
        bad_losses_in_a_row: how many of the last losses were no number; a checkpoint keeps it.
    """

    def __init__(
        self,
        policy: Policy,
        algorithm: Algorithm,
        config: TrainingConfig,
        optimizers: Optimizers,
        collective: Collective,
    ) -> None:
        """Bind what stays the same from step to step."""
        self._policy = policy
        self._algorithm = algorithm
        self._config = config
        self._optimizers = optimizers
        self._collective = collective
        self.bad_losses_in_a_row = 0
        self._on_policy = config.minibatches == 1 and config.epochs_per_batch == 1

    def update(
        self, samples: Sequence[TrainingSample], seed: int, max_response_tokens: int, *, critic_only: bool = False
    ) -> UpdateMetrics:
        """Take one optimizer step a minibatch and pass.

        Args:
            samples: the whole batch, the same on every worker; each worker computes the gradient of its share.
            seed: of the order of minibatches.
            max_response_tokens: the limit under which they were sampled.
            critic_only: leave the policy as it is.

        Raises:
            BadLossError: after `stop_after_bad_losses` losses in a row that are no number.
        """
        metrics = UpdateMetrics()
        prepared = self._prepare(samples, metrics)
        order = random.Random(seed)
        for _ in range(self._config.epochs_per_batch):
            for minibatch in self._minibatches(prepared, order):
                self._step(minibatch, max_response_tokens, metrics, critic_only)
        return _merged(self._collective.gather(metrics))

    def _prepare(self, samples: Sequence[TrainingSample], metrics: UpdateMetrics) -> list[TrainingSample]:
        """Add what has to be known before the first step: old log-probabilities and values, the reference's, advantages."""
        prepared = list(samples)
        if not self._on_policy:
            prepared = self._measured(prepared, self._logprobs_of, "old_logprobs")
        if self._config.kl_coefficient > 0:
            with self._policy.reference():
                prepared = self._measured(prepared, self._logprobs_of, "reference_logprobs")
        penalties = [self._kl_penalty(sample) for sample in prepared]
        if self._algorithm.critic:
            prepared = self._measured(prepared, self._policy.values, "old_values")
            prepared, metrics.explained_variance = with_critic_advantages(
                prepared, penalties, self._config.discount, self._config.gae_lambda
            )
        elif self._algorithm.advantage == "reinforce_pp":
            prepared = with_batch_advantages(prepared, self._algorithm, penalties, self._config.discount)
        else:
            prepared = with_group_advantages(prepared, self._algorithm, penalties)
        return [sample for sample in prepared if not sample.masked]

    def _kl_penalty(self, sample: TrainingSample) -> Tensor:
        """Return what k1 takes from the reward at each token."""
        if self._config.kl_coefficient == 0 or self._config.kl_estimator != "k1":
            return torch.zeros(sample.length)
        return self._config.kl_coefficient * kl(sample.sampler_logprobs, _known(sample.reference_logprobs), "k1")

    def _logprobs_of(self, packed: Packed) -> Tensor:
        return self._policy.logprobs(packed, self._config.temperature)[0]

    @torch.no_grad()
    def _measured(
        self, samples: Sequence[TrainingSample], measure: Callable[[Packed], Tensor], name: str
    ) -> list[TrainingSample]:
        mine = self._share(samples)
        found: dict[int, Tensor] = {}
        positions = {id(sample): index for index, sample in enumerate(samples)}
        for batch in micro_batches(mine, self._config.micro_batch_tokens):
            packed = pack_samples(batch, self._policy.device)
            flat = [sample for part in batch for sample in part]
            for sample, values in zip(flat, packed.split(measure(packed)), strict=True):
                found[positions[id(sample)]] = values.cpu()
        merged = {index: values for part in self._collective.gather(found) for index, values in part.items()}
        return [replace(sample, **{name: merged[index]}) for index, sample in enumerate(samples)]

    def _share(self, samples: Sequence[TrainingSample]) -> list[TrainingSample]:
        size, rank = self._collective.size, self._collective.rank
        return [sample for sample in samples if sample.group % size == rank]

    def _minibatches(self, samples: list[TrainingSample], order: random.Random) -> Iterator[list[TrainingSample]]:
        groups = sorted({sample.group for sample in samples})
        if self._config.minibatches > 1:
            order.shuffle(groups)
        size = math.ceil(len(groups) / self._config.minibatches)
        for start in range(0, len(groups), max(1, size)):
            chosen = set(groups[start : start + size])
            yield [sample for sample in samples if sample.group in chosen]

    def _step(
        self, samples: list[TrainingSample], max_response_tokens: int, metrics: UpdateMetrics, critic_only: bool
    ) -> None:
        if not samples:
            return
        shape = StepShape(len(samples), sum(s.length for s in samples), max_response_tokens)
        mine = self._share(samples)
        if not critic_only:
            parameters = self._policy.policy_parameters()
            loss = self._accumulate(self._contributing(mine), shape, metrics)
            norm = self._apply(self._optimizers.policy, parameters, loss, metrics)
            if norm is not None:
                metrics.grad_norms.append(norm)
        if self._optimizers.critic is not None:
            loss = self._accumulate_critic(mine, shape, metrics)
            norm = self._apply(self._optimizers.critic, self._policy.critic_parameters(), loss, metrics)
            if norm is not None:
                metrics.critic_grad_norms.append(norm)

    def _contributing(self, samples: list[TrainingSample]) -> list[TrainingSample]:
        """Leave out answers whose gradient is exactly zero; they stay in the normalizer."""
        if self._config.kl_coefficient > 0 and self._config.kl_estimator != "k1":
            return samples
        return [sample for sample in samples if bool(sample.advantages.any())]

    def _accumulate(self, samples: list[TrainingSample], shape: StepShape, metrics: UpdateMetrics) -> float:
        total = 0.0
        for batch in micro_batches(samples, self._config.micro_batch_tokens):
            packed = pack_samples(batch, self._policy.device)
            logprobs, entropies = self._policy.logprobs(packed, self._config.temperature)
            loss = self._policy_loss(packed, [s for part in batch for s in part], logprobs, entropies, shape, metrics)
            loss.backward()
            total += loss.item()
        metrics.loss += total
        return total

    def _policy_loss(
        self,
        packed: Packed,
        samples: list[TrainingSample],
        logprobs: Tensor,
        entropies: Tensor,
        shape: StepShape,
        metrics: UpdateMetrics,
    ) -> Tensor:
        device = logprobs.device
        advantages = torch.cat([s.advantages for s in samples]).to(device)
        sampler = torch.cat([s.sampler_logprobs for s in samples]).to(device)
        detached = logprobs.detach()
        # Used once, the batch is on-policy: the ratio is 1 and only its gradient matters.
        old = detached if self._on_policy else torch.cat([_known(s.old_logprobs) for s in samples]).to(device)
        algorithm = self._algorithm
        clipped = clipped_policy_loss(
            logprobs, old, advantages, algorithm.clip_low, algorithm.clip_high, algorithm.dual_clip
        )
        importance = importance_weights(old, sampler, self._config.importance_cap)
        losses = clipped.per_token * importance
        if self._config.kl_coefficient > 0 and self._config.kl_estimator != "k1":
            reference = torch.cat([_known(s.reference_logprobs) for s in samples]).to(device)
            losses = losses + self._config.kl_coefficient * kl(logprobs, reference, self._config.kl_estimator)
        metrics.tokens += len(logprobs)
        metrics.entropy += entropies.sum().item()
        metrics.clipped += clipped.clipped.sum().item()
        metrics.kl_sampler += kl(sampler, detached, "k3").sum().item()
        metrics.importance += importance.sum().item()
        weights = token_weights(algorithm.aggregation, packed.lengths, shape, device)
        return (losses * weights).sum()

    def _accumulate_critic(self, samples: list[TrainingSample], shape: StepShape, metrics: UpdateMetrics) -> float:
        total = 0.0
        for batch in micro_batches(samples, self._config.micro_batch_tokens):
            packed = pack_samples(batch, self._policy.device)
            flat = [sample for part in batch for sample in part]
            values = self._policy.values(packed)
            old = torch.cat([_known(s.old_values) for s in flat]).to(values.device)
            returns = torch.cat([_known(s.returns) for s in flat]).to(values.device)
            loss = clipped_value_loss(values, old, returns, self._config.value_clip).sum() / shape.tokens
            loss.backward()
            total += loss.item()
        metrics.value_loss += total
        return total

    def _apply(
        self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: float, metrics: UpdateMetrics
    ) -> float | None:
        """Add up the workers' gradients and step; return the gradient's norm, or None where there was nothing to do."""
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # With the gradients goes the loss, so that all workers agree on whether it is a number.
        total = torch.tensor(loss, device=gradients[0].device)
        self._collective.sum([*gradients, total])
        norm = float(nn.utils.clip_grad_norm_(parameters, self._config.max_grad_norm))
        try:
            if not (math.isfinite(total.item()) and math.isfinite(norm)):
                metrics.bad_losses += 1
                self.bad_losses_in_a_row += 1
                if self.bad_losses_in_a_row >= self._config.stop_after_bad_losses:
                    raise BadLossError(
                        f"the loss or its gradient was no number {self.bad_losses_in_a_row} times in a row"
                    )
                return None
            self.bad_losses_in_a_row = 0
            if norm == 0.0:
                return None
            optimizer.step()
            return norm
        finally:
            optimizer.zero_grad(set_to_none=True)


def _known(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "measured in _prepare"
    return tensor
