"""Asking whatever answers: a model here or a server, by tokens or by messages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rllm_assets.data.trajectories import Message
from rllm_assets.models.sampler import Sample
from rllm_assets.models.samplers import TokenSampler
from rllm_assets.models.stopping import StopRule
from rllm_assets.rollouts.endpoint import ChatEndpoint

AnySampler = TokenSampler | ChatEndpoint


@dataclass(frozen=True)
class Conversation:
    """What is to be answered next: as tokens, those that were sampled among them, and as messages."""

    token_ids: list[int]
    messages: list[Message]


def ask(
    sampler: AnySampler,
    conversations: Sequence[Conversation],
    samples: int,
    *,
    temperature: float | Sequence[float],
    max_tokens: int,
    seeds: Sequence[int],
    stop: StopRule | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[Sample]]:
    """Sample `samples` answers to each conversation, by its messages where the sampler takes no tokens."""
    if isinstance(sampler, ChatEndpoint):
        answer, prompts = sampler.answer, [conversation.messages for conversation in conversations]
    else:
        answer, prompts = sampler.sample, [conversation.token_ids for conversation in conversations]
    return answer(
        prompts,  # pyright: ignore[reportArgumentType]
        samples,
        temperature=temperature,
        max_tokens=max_tokens,
        seeds=seeds,
        stop=stop,
        progress=progress,
    )
