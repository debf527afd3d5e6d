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
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rllm_assets.models.dense_attention import dense_attention

IMPLEMENTATION = "rllm_layout"

# Pairs of query and key, over all heads of a group, whose weights are kept for the gradient on a CPU: 32 MB a layer in bfloat16.
MAX_KEPT_WEIGHTS = 1 << 24


class Layout(Protocol):
    """Who attends to whom."""

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
    """A prompt and the responses to it, by their lengths in tokens."""

    prompt: int
    responses: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt, counted once, and of the responses."""
        return self.prompt + sum(self.responses)


class PackedLayout:
    """Groups one after another, each as its prompt followed by its responses.

    A response token attends to the whole prompt of its group and to its own response up to itself: the same result as if the
    prompt were repeated for every response, at the cost of one prompt.
    """

    def __init__(self, groups: Sequence[Group], device: torch.device) -> None:
        """Precompute the positions and the masks of `groups`."""
        self.groups = tuple(groups)
        self.position_ids = torch.cat([self._positions(group) for group in groups]).to(device)
        self._blocks = list(self._layout_blocks(device))

    @staticmethod
    def _positions(group: Group) -> Tensor:
        responses = [torch.arange(group.prompt, group.prompt + length) for length in group.responses]
        return torch.cat([torch.arange(group.prompt), *responses])

    def _layout_blocks(self, device: torch.device) -> Iterator["_Block"]:
        start = 0
        for group in self.groups:
            first = start + group.prompt
            rows, longest = len(group.responses), max(group.responses, default=0)
            gather = torch.full((rows, longest), first, dtype=torch.long)
            real = torch.zeros((rows, longest), dtype=torch.bool)
            position = first
            for row, length in enumerate(group.responses):
                gather[row, :length] = torch.arange(position, position + length)
                real[row, :length] = True
                position += length
            among_prompt = torch.ones((group.prompt, group.prompt), dtype=torch.bool).tril()
            among_response = torch.ones((longest, longest), dtype=torch.bool).tril()
            mask = torch.cat([torch.ones((longest, group.prompt), dtype=torch.bool), among_response], dim=1)
            yield _Block(
                start, first, gather.to(device), real.to(device), _Mask(among_prompt, device), _Mask(mask, device)
            )
            start = position

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scale: float) -> Tensor:
        """Return the attention's output, N × H × D."""
        return torch.cat([part for block in self._blocks for part in block.attend(q_HND, k_KND, v_KND, scale)])


@dataclass(frozen=True)
class _Block:
    start: int
    first_response: int
    gather_RC: Tensor
    real_RC: Tensor
    prompt_mask: "_Mask"
    mask: "_Mask"

    def attend(self, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scale: float) -> Iterator[Tensor]:
        prompt = slice(self.start, self.first_response)
        k_KPD, v_KPD = k_KND[:, prompt], v_KND[:, prompt]
        yield _attend(q_HND[None, :, prompt], k_KPD[None], v_KPD[None], scale, self.prompt_mask)[0].transpose(0, 1)
        rows = self.gather_RC.shape[0]
        if rows == 0:
            return
        q_RHCD = q_HND[:, self.gather_RC].transpose(0, 1)
        k_RKCD, v_RKCD = (x[:, self.gather_RC].transpose(0, 1) for x in (k_KND, v_KND))
        # Keys of the prompt are expanded, not computed again; the gradient sums over the rows.
        k_RKTD = torch.cat([k_KPD.expand(rows, -1, -1, -1), k_RKCD], dim=2)
        v_RKTD = torch.cat([v_KPD.expand(rows, -1, -1, -1), v_RKCD], dim=2)
        out_RHCD = _attend(q_RHCD, k_RKTD, v_RKTD, scale, self.mask)
        yield out_RHCD.transpose(1, 2)[self.real_RC]


class _Mask:
    """Who sees whom, for the kernel that takes it as booleans and for the one that adds it."""

    def __init__(self, seen_CT: Tensor, device: torch.device) -> None:
        self.seen_CT = seen_CT.to(device)
        self._added: Tensor | None = None

    def added(self, dtype: torch.dtype) -> Tensor:
        """Return 0 for what is seen and minus infinity for the rest."""
        if self._added is None:
            zeros = torch.zeros(self.seen_CT.shape, dtype=dtype, device=self.seen_CT.device)
            self._added = zeros.masked_fill_(~self.seen_CT, float("-inf"))
        return self._added


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: _Mask) -> Tensor:
    if q.device.type == "cpu" and q[..., 0].numel() * k.shape[2] <= MAX_KEPT_WEIGHTS:
        return dense_attention(q, k, v, mask.added(q.dtype), scale)
    return scaled_dot_product_attention(
        q, k, v, attn_mask=mask.seen_CT, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )
