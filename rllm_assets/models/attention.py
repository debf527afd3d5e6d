"""Attention over tokens that are packed without padding and share their prompts.

Every linear layer sees one row of real tokens; only attention knows who may look at whom. A `Layout` holds that knowledge and
is handed to the model as a keyword, which Hugging Face models pass on to their attention function.

Shape suffixes: N packed tokens, H query heads, K key heads, D head size, P prompt tokens, C response tokens, R rows, G groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rllm_assets.models.dense_attention import dense_attention

IMPLEMENTATION = "rllm_layout"

# Pairs of query and key, over all heads and groups, whose weights are kept for the gradient on a CPU: 32 MB a layer in bf16.
MAX_KEPT_WEIGHTS = 1 << 24


class Layout(Protocol):
    """Who attends to whom, and where the tokens stand that the model reads next."""

    @property
    def position_ids(self) -> Tensor:
        """Position of each token in its sequence, N."""
        ...

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scale: float) -> Tensor:
        """Return the attention's output, N × H × D."""
        ...


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float,
    layout: Layout,
    **_: Any,
) -> tuple[Tensor, None]:
    return layout.attend(module.layer_idx, query[0], key[0], value[0], scaling)[None], None  # pyright: ignore[reportArgumentType]


ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _attention)


@dataclass(frozen=True)
class Group:
    """A prompt and the responses to it, which may begin alike.

    Attributes:
        prompt: its length in tokens.
        responses: for each response, which of the tokens behind the prompt are its own; where it begins like an earlier one,
            they are that one's.
    """

    prompt: int
    responses: tuple[Sequence[int], ...]


class PackedLayout:
    """Groups one after another, each as its prompt followed by the tokens of its responses.

    A response token attends to the whole prompt of its group and to its own response up to itself: the same result as if prompt
    and common beginning were repeated for every response, at the cost of one.
    """

    def __init__(self, groups: Sequence[Group], device: torch.device) -> None:
        """Precompute the positions and the masks of `groups`."""
        positions: list[Tensor] = []
        self._blocks: list[_Block] = []
        start = 0
        for group in groups:
            block = _Block.of_group(group, start, device)
            positions += [torch.arange(group.prompt), group.prompt + block.depths]
            self._blocks.append(block)
            start += sum(map(len, positions[-2:]))
        self.position_ids = torch.cat(positions).to(device)
        self._pairs = sum(block.pairs for block in self._blocks) if device.type == "cpu" else None

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scale: float) -> Tensor:
        """Return the attention's output, N × H × D."""
        is_dense = self._pairs is not None and len(q_HND) * self._pairs <= MAX_KEPT_WEIGHTS
        return torch.cat(
            [part for block in self._blocks for part in block.attend(q_HND, k_KND, v_KND, scale, is_dense)]
        )


@dataclass(frozen=True)
class _Block:
    """A group in attention.

    `token_RC` is where the tokens of each response are. `own_N` are those of all responses, one after another, that are
    computed for their response and not for one before, and `depths` their places in it.
    """

    start: int
    first_response: int
    token_RC: Tensor
    own_N: Tensor
    depths: Tensor
    seen_CT: Tensor

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key."""
        prompt, (rows, longest) = self.first_response - self.start, self.token_RC.shape
        return prompt * prompt + rows * longest * (prompt + longest)

    @classmethod
    def of_group(cls, group: Group, start: int, device: torch.device) -> "_Block":
        first = start + group.prompt
        rows, longest = len(group.responses), max(map(len, group.responses), default=0)
        token_RC = torch.full((rows, longest), first, dtype=torch.long)
        own_RC = torch.zeros((rows, longest), dtype=torch.bool)
        known = 0
        for row, response in enumerate(group.responses):
            tokens = torch.tensor(response, dtype=torch.long)
            token_RC[row, : len(tokens)] = first + tokens
            own_RC[row, : len(tokens)] = tokens >= known
            known = max(known, max(response, default=-1) + 1)
        among_response = torch.ones((longest, longest), dtype=torch.bool).tril()
        seen_CT = torch.cat([torch.ones((longest, group.prompt), dtype=torch.bool), among_response], dim=1)
        return cls(
            start,
            first,
            token_RC.to(device),
            own_RC.flatten().nonzero()[:, 0].to(device),
            own_RC.nonzero()[:, 1],
            seen_CT.to(device),
        )

    def attend(self, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scale: float, is_dense: bool) -> Iterator[Tensor]:
        """Yield the output of the prompt and of the responses, by products that keep their weights where `is_dense`."""
        prompt = slice(self.start, self.first_response)
        k_KPD, v_KPD = k_KND[:, prompt], v_KND[:, prompt]
        among = _attend_to_prompt(q_HND[None, :, prompt], k_KPD[None], v_KPD[None], scale, is_dense)
        yield among[0].transpose(0, 1)
        rows = self.token_RC.shape[0]
        if rows == 0:
            return
        q_RHCD, k_RKCD, v_RKCD = (
            _taken(x.transpose(0, 1), self.token_RC).transpose(1, 2) for x in (q_HND, k_KND, v_KND)
        )
        # Keys of the prompt are expanded, not computed again; the gradient sums over the rows.
        k_RKTD = torch.cat([k_KPD.expand(rows, -1, -1, -1), k_RKCD], dim=2)
        v_RKTD = torch.cat([v_KPD.expand(rows, -1, -1, -1), v_RKCD], dim=2)
        if is_dense:
            out_RHCD = dense_attention(q_RHCD, k_RKTD, v_RKTD, scale)
        else:
            # Kernels that share key heads take no mask.
            k_RHTD, v_RHTD = (x.repeat_interleave(len(q_HND) // len(k_KND), 1) for x in (k_RKTD, v_RKTD))
            out_RHCD = scaled_dot_product_attention(q_RHCD, k_RHTD, v_RHTD, attn_mask=self.seen_CT, scale=scale)
        yield _taken(out_RHCD.transpose(1, 2).flatten(0, 1), self.own_N)


def _taken(rows: Tensor, which: Tensor) -> Tensor:
    """Return ``rows[which]`` by the way whose gradient is fastest: rows are added up whole."""
    return embedding(which, rows.flatten(1)).unflatten(-1, rows.shape[1:])


def _attend_to_prompt(q: Tensor, k: Tensor, v: Tensor, scale: float, is_dense: bool) -> Tensor:
    if is_dense:
        return dense_attention(q, k, v, scale)
    return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])
