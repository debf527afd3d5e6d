"""The sampler's cache: answers that agree so far are one branch, computed once.

The prompt of a group is read once and its keys and values are shared by all answers to it. Behind it grows a tree: answers to
the same prompt with the same tokens so far have the same next distribution, so they share a branch until they draw different
tokens. Each branch owns one slot of the cache, and the slots in use are always the first ones.

Shape suffixes as in `rllm_assets.models.attention`; B branches, T response positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rllm_assets.models.attention import Group, PackedLayout

# Tokens that the cache has room for at first; it doubles when they are used up, as most answers are short.
FIRST_CAPACITY = 64


class Branches:
    """Keys and values of the prompts, once a group, and of the branches; a `Layout` for reading prompts and for decoding."""

    def __init__(self, prompts: Sequence[Sequence[int]], dtype: torch.dtype, device: torch.device) -> None:
        """Prepare to read the prompts."""
        lengths = [len(prompt) for prompt in prompts]
        self._device = device
        self._prefill: PackedLayout | None = PackedLayout([Group(length, ()) for length in lengths], device)
        self._lengths = torch.tensor(lengths, device=device)
        self.prompt_ids = torch.tensor([token for prompt in prompts for token in prompt], device=device)
        self.last_positions = self._lengths.cumsum(0) - 1
        self._longest = max(lengths)
        self._packed = torch.cat([torch.arange(n, device=device) + g * self._longest for g, n in enumerate(lengths)])
        padding = torch.arange(self._longest, device=device)[None] >= self._lengths[:, None]
        self._padding_GP = torch.zeros(padding.shape, dtype=dtype, device=device).masked_fill_(padding, float("-inf"))
        self._prefix: dict[int, tuple[Tensor, Tensor]] = {}
        self._suffix: dict[int, tuple[Tensor, Tensor]] = {}
        self._group_of = list(range(len(lengths)))
        self._steps = -1

    @property
    def position_ids(self) -> Tensor:
        """Positions of the tokens that the model reads next."""
        if self._prefill is not None:
            return self._prefill.position_ids
        return self._lengths[self._group_B] + self._steps

    def start(self, slots: int, max_tokens: int) -> None:
        """End the prefill: every group is one branch; at most `slots` branches of `max_tokens` tokens will come of them."""
        self._prefill = None
        self._slots, self._max_tokens = slots, max_tokens

    def grow(self, children: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """Go on to the next position with these (branch, token) pairs, each once.

        Returns:
            The branch that each pair became.
        """
        self._steps += 1
        parents = {parent for parent, _ in children}
        # A first child takes its parent's place; the others take free places, and the last ones move up into what is left.
        placed: dict[tuple[int, int], int] = {}
        moving: list[tuple[int, int]] = []
        for child in children:
            parent = child[0]
            if parent < len(children) and parent in parents:
                placed[child] = parent
                parents.discard(parent)
            else:
                moving.append(child)
        free = sorted(set(range(len(children))) - set(placed.values()))
        placed.update(zip(moving, free, strict=True))
        if moving:
            source = torch.tensor([parent for parent, _ in moving], device=self._device)
            target = torch.tensor(free, device=self._device)
            for k, v in self._suffix.values():
                k[target, :, : self._steps] = k[source, :, : self._steps]
                v[target, :, : self._steps] = v[source, :, : self._steps]
        before = self._group_of
        self._group_of = [0] * len(children)
        for (parent, _), place in placed.items():
            self._group_of[place] = before[parent]
        if moving or self._steps == 0 or len(before) != len(children):
            self._arrange()
        return placed

    def _arrange(self) -> None:
        """Lay the branches out as a grid of groups, so that one product serves all branches of a group."""
        self._group_B = torch.tensor(self._group_of, device=self._device)
        counts = torch.bincount(self._group_B, minlength=len(self._lengths))
        self._present = counts.nonzero()[:, 0]
        self._width = int(counts.max())
        by_group = torch.argsort(self._group_B, stable=True)
        first = (counts.cumsum(0) - counts)[self._group_B[by_group]]
        column = torch.empty_like(by_group)
        column[by_group] = torch.arange(len(by_group), device=self._device) - first
        rank = torch.zeros_like(counts)
        rank[self._present] = torch.arange(len(self._present), device=self._device)
        self._cell_B = rank[self._group_B] * self._width + column
        self._branch_cells = torch.zeros(len(self._present) * self._width, dtype=torch.long, device=self._device)
        self._branch_cells[self._cell_B] = torch.arange(len(self._group_B), device=self._device)
        self._all_present = len(self._present) == len(self._lengths)

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scale: float) -> Tensor:
        """Return the attention's output, N × H × D."""
        if self._prefill is not None:
            self._prefix[layer] = (self._unpacked(k_KND), self._unpacked(v_KND))
            return self._prefill.attend(layer, q_HND, k_KND, v_KND, scale)
        return self._decode(layer, q_HND, k_KND, v_KND, scale)

    def _unpacked(self, x_KND: Tensor) -> Tensor:
        heads, _, size = x_KND.shape
        padded = x_KND.new_zeros((heads, len(self._lengths) * self._longest, size))
        padded[:, self._packed] = x_KND
        return padded.view(heads, len(self._lengths), self._longest, size).transpose(0, 1).contiguous()

    def _decode(self, layer: int, q_HBD: Tensor, k_KBD: Tensor, v_KBD: Tensor, scale: float) -> Tensor:
        kv_heads, branches, size = k_KBD.shape
        repeat = q_HBD.shape[0] // kv_heads
        if layer not in self._suffix:
            shape = (self._slots, kv_heads, min(FIRST_CAPACITY, self._max_tokens), size)
            self._suffix[layer] = (k_KBD.new_empty(shape), k_KBD.new_empty(shape))
        elif self._steps == self._suffix[layer][0].shape[2]:
            k_short, v_short = self._suffix[layer]
            self._suffix[layer] = (self._longer(k_short), self._longer(v_short))
        k_cache, v_cache = (cache[:branches] for cache in self._suffix[layer])
        k_cache[:, :, self._steps] = k_KBD.transpose(0, 1)
        v_cache[:, :, self._steps] = v_KBD.transpose(0, 1)
        used = self._steps + 1
        k_BKTD, v_BKTD = k_cache[:, :, :used], v_cache[:, :, :used]
        k_GKPD, v_GKPD = self._prefix[layer]
        padding_GP = self._padding_GP
        if not self._all_present:
            k_GKPD, v_GKPD, padding_GP = k_GKPD[self._present], v_GKPD[self._present], padding_GP[self._present]

        q_BKRD = (q_HBD * scale).transpose(0, 1).reshape(branches, kv_heads, repeat, size)
        own_BKRT = q_BKRD @ k_BKTD.transpose(-1, -2)
        shared_BKRP = self._to_branches(
            self._to_grid(q_BKRD) @ k_GKPD.transpose(-1, -2) + padding_GP[:, None, None], repeat
        )
        weights = torch.cat([shared_BKRP, own_BKRT], dim=-1).softmax(-1)
        prompt = shared_BKRP.shape[-1]
        shared_BKRD = self._to_branches(self._to_grid(weights[..., :prompt]) @ v_GKPD, repeat)
        out_BKRD = shared_BKRD + weights[..., prompt:] @ v_BKTD
        return out_BKRD.reshape(branches, kv_heads * repeat, size)

    def _longer(self, cache: Tensor) -> Tensor:
        slots, heads, capacity, size = cache.shape
        used = len(self._group_of)
        longer = cache.new_empty((slots, heads, min(2 * capacity, self._max_tokens), size))
        longer[:used, :, :capacity] = cache[:used]
        return longer

    def _to_grid(self, x_BKRX: Tensor) -> Tensor:
        """Branches to G × K × (branches of the group · R) × X; missing ones repeat another and are dropped again."""
        _, heads, repeat, size = x_BKRX.shape
        cells = x_BKRX[self._branch_cells].view(len(self._present), self._width, heads, repeat, size)
        return cells.transpose(1, 2).reshape(len(self._present), heads, self._width * repeat, size)

    def _to_branches(self, x_GKYX: Tensor, repeat: int) -> Tensor:
        groups, heads, _, size = x_GKYX.shape
        cells = x_GKYX.view(groups, heads, self._width, repeat, size).transpose(1, 2)
        return cells.reshape(groups * self._width, heads, repeat, size)[self._cell_B]
