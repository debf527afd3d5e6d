"""The sampler's cache: answers that agree so far are one branch, computed once.

The prompt of a group is read once and its keys and values are shared by all answers to it. Behind it grows a tree: answers to
the same prompt with the same tokens so far have the same next distribution, so they share a branch until they draw different
tokens. The cache is a grid of groups and slots, a branch to a slot, so that all branches of a group meet their prompt in one
product. Slots whose branch has ended are computed along until the grid is laid out anew.

Shape suffixes as in `rllm_assets.models.attention`; B branches, S slots of a group, T response positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from rllm_assets.models.attention import Group, PackedLayout

# Tokens by which the cache grows. Products take it whole, since a part of it would be copied first.
ROOM = 32

# A group and a slot of it.
Place = tuple[int, int]


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
        self._steps = -1
        # The grid: how many slots each group has, and which (group, slot) each branch is in.
        self._width = 1
        self._places: list[Place] = [(group, 0) for group in range(len(lengths))]

    @property
    def position_ids(self) -> Tensor:
        """Positions of the tokens that the model reads next."""
        if self._prefill is not None:
            return self._prefill.position_ids
        return self._lengths[self._group_B] + self._steps

    def start(self, samples: int) -> None:
        """End the prefill: every group is one branch, of which at most `samples` will come."""
        self._prefill = None
        self._samples = samples

    def grow(self, children: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """Go on to the next position with these (branch, token) pairs, each once.

        Returns:
            The branch that each pair became.
        """
        self._steps += 1
        families: dict[int, list[tuple[int, int]]] = {}
        for child in children:
            families.setdefault(self._places[child[0]][0], []).append(child)
        widest = max(map(len, families.values()))
        if widest > self._width:
            slots = self._lay_out(families, min(self._samples, max(widest, 2 * self._width)))
        elif 2 * len(families) * widest <= len(self._lengths) * self._width:
            slots = self._lay_out(families, widest)
        else:
            slots = self._settle(families)
        in_order = sorted(slots, key=slots.__getitem__)
        self._places = [slots[child] for child in in_order]
        self._is_full = len(self._places) == len(self._lengths) * self._width
        self._group_B, self._slot_B = torch.tensor(self._places, device=self._device).T
        return {child: branch for branch, child in enumerate(in_order)}

    def _settle(self, families: dict[int, list[tuple[int, int]]]) -> dict[tuple[int, int], Place]:
        """Give the first child of a branch its parent's slot, and others a free one of their group."""
        slots: dict[tuple[int, int], Place] = {}
        moves: list[tuple[Place, Place]] = []
        for group, members in families.items():
            heirs = {self._places[child[0]][1]: child for child in reversed(members)}
            slots.update({child: (group, slot) for slot, child in heirs.items()})
            free = (slot for slot in range(self._width) if slot not in heirs)
            for child in members:
                if child not in slots:
                    slots[child] = (group, next(free))
                    moves.append((self._places[child[0]], slots[child]))
        if moves:
            before, after = zip(*moves, strict=True)
            for pair in self._suffix.values():
                for cache in pair:
                    self._copy(cache, before, cache, after)
        return slots

    def _lay_out(self, families: dict[int, list[tuple[int, int]]], width: int) -> dict[tuple[int, int], Place]:
        """Make a grid of the groups that go on, with so many slots each."""
        groups = sorted(families)
        slots = {child: (row, slot) for row, group in enumerate(groups) for slot, child in enumerate(families[group])}
        before = [self._places[parent] for parent, _ in slots]
        self._width = width
        for layer, pair in self._suffix.items():
            heads, _, capacity, size = pair[0].shape[1:]
            laid_out = pair[0].new_zeros((2, len(groups), heads, width, capacity, size))
            for old, new in zip(pair, laid_out, strict=True):
                self._copy(old, before, new, list(slots.values()))
            self._suffix[layer] = (laid_out[0], laid_out[1])
        if len(groups) < len(self._lengths):
            kept = torch.tensor(groups, device=self._device)
            self._lengths, self._padding_GP = self._lengths[kept], self._padding_GP[kept]
            self._prefix = {layer: (k[kept], v[kept]) for layer, (k, v) in self._prefix.items()}
        return slots

    def _copy(self, source: Tensor, before: Sequence[Place], target: Tensor, after: Sequence[Place]) -> None:
        group_from, slot_from = torch.tensor(before, device=self._device).T
        group_to, slot_to = torch.tensor(after, device=self._device).T
        target[group_to, :, slot_to, : self._steps] = source[group_from, :, slot_from, : self._steps]

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
        kv_heads, _, size = k_KBD.shape
        groups, width, repeat = len(self._lengths), self._width, q_HBD.shape[0] // kv_heads
        k_GKPD, v_GKPD = self._prefix[layer]
        k_GKSTD, v_GKSTD = self._remember(layer, k_KBD, v_KBD)
        q_GKSRD = self._to_grid((q_HBD * scale).view(kv_heads, repeat, -1, size).permute(2, 0, 1, 3))

        of_prompt = q_GKSRD.view(groups, kv_heads, width * repeat, size) @ k_GKPD.transpose(-1, -2)
        of_prompt += self._padding_GP[:, None, None]
        of_own = q_GKSRD @ k_GKSTD.transpose(-1, -2)
        of_own[..., self._steps + 1 :] = float("-inf")
        prompt = of_prompt.shape[-1]
        weights = torch.cat([of_prompt.view(groups, kv_heads, width, repeat, prompt), of_own], dim=-1).softmax(-1)
        shared = weights[..., :prompt].view(groups, kv_heads, width * repeat, prompt) @ v_GKPD
        out_GKSRD = torch.add(shared.view(q_GKSRD.shape), weights[..., prompt:] @ v_GKSTD)
        return self._to_branches(out_GKSRD).reshape(-1, kv_heads * repeat, size)

    def _remember(self, layer: int, k_KBD: Tensor, v_KBD: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new position into the cache; return it, with zeros where nothing is yet."""
        heads, _, size = k_KBD.shape
        if layer not in self._suffix:
            cache = k_KBD.new_zeros((2, len(self._lengths), heads, self._width, ROOM, size))
            self._suffix[layer] = (cache[0], cache[1])
        elif self._steps == self._suffix[layer][0].shape[3]:
            k_cache, v_cache = (pad(cache, (0, 0, 0, ROOM)) for cache in self._suffix[layer])
            self._suffix[layer] = (k_cache, v_cache)
        for cache, new_KBD in zip(self._suffix[layer], (k_KBD, v_KBD), strict=True):
            if self._is_full:
                cache[:, :, :, self._steps] = new_KBD.view(heads, -1, self._width, size).transpose(0, 1)
            else:
                cache[self._group_B, :, self._slot_B, self._steps] = new_KBD.transpose(0, 1)
        return self._suffix[layer]

    def _to_grid(self, x_BKRD: Tensor) -> Tensor:
        """Branches to G × K × S × R × D; slots without a branch hold zeros."""
        _, heads, repeat, size = x_BKRD.shape
        groups = len(self._lengths)
        if self._is_full:
            cells = x_BKRD.reshape(groups, self._width, heads, repeat, size)
        else:
            cells = x_BKRD.new_zeros((groups, self._width, heads, repeat, size))
            cells[self._group_B, self._slot_B] = x_BKRD
        return cells.transpose(1, 2).contiguous()

    def _to_branches(self, x_GKSRD: Tensor) -> Tensor:
        if self._is_full:
            return x_GKSRD.transpose(1, 2).flatten(0, 1)
        return x_GKSRD[self._group_B, :, self._slot_B]
