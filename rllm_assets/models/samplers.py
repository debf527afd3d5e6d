"""Which sampler a configuration asks for: the one of this package, or vLLM."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Protocol

from rllm_assets.models.embedded import ModelError
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sample, Sampler
from rllm_assets.models.stopping import StopRule


class TokenSampler(Protocol):
    """What answers token ids with token ids: a copy of a policy, or a server that serves one."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        samples: int,
        *,
        temperature: float | Sequence[float],
        max_tokens: int,
        seeds: Sequence[int],
        stop: StopRule | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Sample]]:
        """Sample answers to each prompt, as `rllm_assets.models.sampler.Sampler.sample` says."""
        ...


class PolicySampler(TokenSampler, Protocol):
    """A copy of a policy, whose weights it has when they are asked for."""

    def refresh(self) -> None:
        """Take the policy's current weights."""
        ...

    def use_base(self) -> None:
        """Take the base's weights."""
        ...


def open_sampler(policy: Policy) -> PolicySampler:
    """Return the sampler of `model.sampler`.

    Raises:
        ModelError: where it is vLLM, and that is not installed, or there is no CUDA device.
    """
    if policy.config.sampler == "own":
        return Sampler(policy)
    if policy.device.type != "cuda":
        raise ModelError(f"model.sampler vllm needs a CUDA device, and this is {policy.device}; use model.sampler own")
    if find_spec("vllm") is None:
        raise ModelError(
            "model.sampler vllm needs vLLM, which is not installed: pip install vllm, or use model.sampler own"
        )
    from rllm_assets.models.vllm_sampler import VLLMSampler

    return VLLMSampler(policy)
