"""Keys and values of prompts and of the answers to them: a grid of groups and slots, in the form that attention reads fastest.

Shape suffixes as in `rllm_assets.models.attention`; B rows that are computed, S slots of a group, T response positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rllm_assets.models import kernels

# Tokens by which the grid grows. Products take it whole, since a part of it would be copied first.
ROOM = 32

# A group and a slot of it.
Place = tuple[int, int]


@dataclass(frozen=True)
class Rows:
    """Where the rows are that are computed: row B is in slot `slot_B` of group `group_B`, at position `step` of its response.

    Where they fill the grid of `shape`, groups × slots, they are in its order.
    """

    group_B: Tensor
    slot_B: Tensor
    shape: tuple[int, int]
    step: int

    @property
    def fill_the_grid(self) -> bool:
        """Tell whether every slot has a row."""
        return len(self.group_B) == self.shape[0] * self.shape[1]


class Form(Protocol):
    """How keys and values lie in memory. Positions are the fourth dimension of a grid: groups, key heads, slots, positions."""

    def of_prompts(self, k_GKPD: Tensor, v_GKPD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of prompts."""
        ...

    def room(self, k_KBD: Tensor, groups: int, slots: int) -> tuple[Tensor, Tensor]:
        """Return zeros for `ROOM` positions of a grid with key heads like these."""
        ...

    def attend(
        self,
        qkv: tuple[Tensor, Tensor, Tensor],
        prompt: tuple[Tensor, Tensor],
        own: tuple[Tensor, Tensor],
        lengths_G: Tensor,
        rows: Rows,
        scale: float,
    ) -> Tensor:
        """Write a new position of each row into the grid, and return its attention to prompt and own positions, B × H × D."""
        ...


class Cache:
    """Keys and values of all layers."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        """Prepare for prompts of some lengths."""
        self._device = device
        self._lengths_G = torch.tensor(lengths, device=device)
        self._capacity = -(-max(lengths) // ROOM) * ROOM
        self._packed = torch.cat([torch.arange(n, device=device) + g * self._capacity for g, n in enumerate(lengths)])
        self._form: Form | None = None
        self._prompts: dict[int, tuple[Tensor, Tensor]] = {}
        self._own: dict[int, tuple[Tensor, Tensor]] = {}

    def read_prompts(self, layer: int, k_KND: Tensor, v_KND: Tensor) -> None:
        """Keep the keys and values of packed prompts."""
        self._form = self._form or form_for(k_KND)
        self._prompts[layer] = self._form.of_prompts(self._unpacked(k_KND), self._unpacked(v_KND))

    def _unpacked(self, x_KND: Tensor) -> Tensor:
        heads, _, size = x_KND.shape
        padded = x_KND.new_zeros((heads, len(self._lengths_G) * self._capacity, size))
        padded[:, self._packed] = x_KND
        return padded.view(heads, len(self._lengths_G), self._capacity, size).transpose(0, 1)

    def attend(self, layer: int, qkv: tuple[Tensor, Tensor, Tensor], rows: Rows, scale: float) -> Tensor:
        """Add a new position of each row, given as heads × B × D, and return its attention, B × H × D."""
        assert self._form is not None, "prompts come first"
        if layer not in self._own:
            self._own[layer] = self._form.room(qkv[1], *rows.shape)
        elif rows.step % ROOM == 0 and rows.step:
            room = self._form.room(qkv[1], *rows.shape)
            k_own, v_own = (torch.cat(pair, dim=3) for pair in zip(self._own[layer], room, strict=True))
            self._own[layer] = (k_own, v_own)
        return self._form.attend(qkv, self._prompts[layer], self._own[layer], self._lengths_G, rows, scale)

    def copy(self, before: Sequence[Place], after: Sequence[Place]) -> None:
        """Copy slots to other slots."""
        for pair in self._own.values():
            for grid in pair:
                self._copy(grid, before, grid, after)

    def lay_out(self, groups: Sequence[int], width: int, before: Sequence[Place], after: Sequence[Place]) -> None:
        """Make a grid of some of the groups with so many slots each, and copy slots into it."""
        for layer, pair in self._own.items():
            k_own, v_own = (grid.new_zeros((len(groups), grid.shape[1], width, *grid.shape[3:])) for grid in pair)
            for old, new in zip(pair, (k_own, v_own), strict=True):
                self._copy(old, before, new, after)
            self._own[layer] = (k_own, v_own)
        if len(groups) < len(self._lengths_G):
            kept = torch.tensor(groups, device=self._device)
            self._lengths_G = self._lengths_G[kept]
            self._prompts = {layer: (k[kept], v[kept]) for layer, (k, v) in self._prompts.items()}

    def _copy(self, source: Tensor, before: Sequence[Place], target: Tensor, after: Sequence[Place]) -> None:
        group_from, slot_from = torch.tensor(before, device=self._device).T
        group_to, slot_to = torch.tensor(after, device=self._device).T
        target[group_to, :, slot_to] = source[group_from, :, slot_from]


class _Plain:
    """Positions × D, for batched matrix products."""

    def __init__(self) -> None:
        self._padding_GP: Tensor | None = None

    def of_prompts(self, k_GKPD: Tensor, v_GKPD: Tensor) -> tuple[Tensor, Tensor]:
        return k_GKPD.contiguous(), v_GKPD.contiguous()

    def room(self, k_KBD: Tensor, groups: int, slots: int) -> tuple[Tensor, Tensor]:
        grids = k_KBD.new_zeros((2, groups, len(k_KBD), slots, ROOM, k_KBD.shape[-1]))
        return grids[0], grids[1]

    def attend(
        self,
        qkv: tuple[Tensor, Tensor, Tensor],
        prompt: tuple[Tensor, Tensor],
        own: tuple[Tensor, Tensor],
        lengths_G: Tensor,
        rows: Rows,
        scale: float,
    ) -> Tensor:
        q_HBD, *new = qkv
        (k_GKPD, v_GKPD), (k_GKSTD, v_GKSTD) = prompt, own
        for grid, new_KBD in zip(own, new, strict=True):
            self._write(grid[:, :, :, rows.step], new_KBD, rows)
        groups, key_heads, width, _, size = k_GKSTD.shape
        repeat, longest = len(q_HBD) // key_heads, k_GKPD.shape[2]
        q_GKSRD = self._to_grid((q_HBD * scale).view(key_heads, repeat, -1, size).permute(2, 0, 1, 3), rows)

        of_prompt = q_GKSRD.view(groups, key_heads, width * repeat, size) @ k_GKPD.transpose(-1, -2)
        of_prompt += self._padding(lengths_G, longest, of_prompt.dtype)
        of_own = q_GKSRD @ k_GKSTD.transpose(-1, -2)
        of_own[..., rows.step + 1 :] = float("-inf")
        weights = torch.cat([of_prompt.view(groups, key_heads, width, repeat, longest), of_own], dim=-1).softmax(-1)
        shared = weights[..., :longest].view(groups, key_heads, width * repeat, longest) @ v_GKPD
        out_GKSRD = torch.add(shared.view(q_GKSRD.shape), weights[..., longest:] @ v_GKSTD)
        return self._to_rows(out_GKSRD, rows).reshape(-1, key_heads * repeat, size)

    def _padding(self, lengths_G: Tensor, longest: int, dtype: torch.dtype) -> Tensor:
        """Return what is added to the scores of the prompts: minus infinity behind their ends."""
        if self._padding_GP is None or len(self._padding_GP) != len(lengths_G):
            is_padding = torch.arange(longest, device=lengths_G.device)[None] >= lengths_G[:, None]
            zeros = torch.zeros(is_padding.shape, dtype=dtype, device=lengths_G.device)
            self._padding_GP = zeros.masked_fill_(is_padding, float("-inf"))
        return self._padding_GP[:, None, None]

    def _write(self, cells_GKSD: Tensor, x_KBD: Tensor, rows: Rows) -> None:
        if rows.fill_the_grid:
            cells_GKSD.copy_(x_KBD.unflatten(1, rows.shape).transpose(0, 1))
        else:
            cells_GKSD[rows.group_B, :, rows.slot_B] = x_KBD.transpose(0, 1)

    def _to_grid(self, x_BKRD: Tensor, rows: Rows) -> Tensor:
        """Rows to G × K × S × R × D; slots without one hold zeros."""
        if rows.fill_the_grid:
            cells = x_BKRD.reshape(*rows.shape, *x_BKRD.shape[1:])
        else:
            cells = x_BKRD.new_zeros((*rows.shape, *x_BKRD.shape[1:]))
            cells[rows.group_B, rows.slot_B] = x_BKRD
        return cells.transpose(1, 2).contiguous()

    def _to_rows(self, x_GKSRD: Tensor, rows: Rows) -> Tensor:
        if rows.fill_the_grid:
            return x_GKSRD.transpose(1, 2).flatten(0, 1)
        return x_GKSRD[rows.group_B, :, rows.slot_B]


class _Paired:
    """Two numbers to a word, for the kernel: keys with neighbouring entries of the head, values with neighbouring positions."""

    def of_prompts(self, k_GKPD: Tensor, v_GKPD: Tensor) -> tuple[Tensor, Tensor]:
        k_GKPE2 = k_GKPD.unflatten(-1, (-1, 2)).unflatten(2, (-1, kernels.TILE))
        return k_GKPE2.transpose(-2, -3).contiguous(), v_GKPD.unflatten(2, (-1, 2)).transpose(-1, -2).contiguous()

    def room(self, k_KBD: Tensor, groups: int, slots: int) -> tuple[Tensor, Tensor]:
        size, grid = k_KBD.shape[-1], (groups, len(k_KBD), slots)
        tiles = k_KBD.new_zeros((*grid, ROOM // kernels.TILE, size // 2, kernels.TILE, 2))
        return tiles, k_KBD.new_zeros((*grid, ROOM // 2, size, 2))

    def attend(
        self,
        qkv: tuple[Tensor, Tensor, Tensor],
        prompt: tuple[Tensor, Tensor],
        own: tuple[Tensor, Tensor],
        lengths_G: Tensor,
        rows: Rows,
        scale: float,
    ) -> Tensor:
        q_BHD, k_BKD, v_BKD = (x.transpose(0, 1) for x in qkv)
        return kernels.attend(q_BHD, k_BKD, v_BKD, prompt, own, lengths_G, rows.group_B, rows.slot_B, rows.step, scale)


def form_for(k_KND: Tensor) -> Form:
    """Return the form for keys like these."""
    fits = k_KND.shape[-1] % kernels.HEAD == 0 and ROOM % kernels.TILE == 0
    return _Paired() if fits and kernels.are_usable(k_KND.dtype, k_KND.device) else _Plain()
