"""The sampler's cache: answers that agree so far are one branch, computed once.

The prompt of a group is read once and its keys and values are shared by all answers to it. Behind it grows a tree: answers to
the same prompt with the same tokens so far have the same next distribution, so they share a branch until they draw different
tokens. The cache is a grid of groups and slots, a branch to a slot, so that all branches of a group meet their prompt in one
product. Slots whose branch has ended are computed along until the grid is laid out anew.

Shape suffixes as in `rllm_assets.models.attention`; B branches.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rllm_assets.models.attention import Group, PackedLayout
from rllm_assets.models.cache import Cache, Place, Rows


class Branches:
    """Where the branches are in the cache; a `Layout` for reading prompts and for decoding."""

    def __init__(self, prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        """Prepare to read the prompts."""
        lengths = [len(prompt) for prompt in prompts]
        self._device = device
        self._prefill: PackedLayout | None = PackedLayout([Group(length, ()) for length in lengths], device)
        self._lengths = lengths
        self._cache = Cache(lengths, device)
        self.prompt_ids = torch.tensor([token for prompt in prompts for token in prompt], device=device)
        self.last_positions = torch.tensor(lengths, device=device).cumsum(0) - 1
        self._steps = -1
        # The grid: how many slots each group has, and which (group, slot) each branch is in.
        self._width = 1
        self._places: list[Place] = [(group, 0) for group in range(len(lengths))]
        self._rows: Rows

    @property
    def position_ids(self) -> Tensor:
        """Positions of the tokens that the model reads next."""
        if self._prefill is not None:
            return self._prefill.position_ids
        return torch.tensor([self._lengths[group] + self._steps for group, _ in self._places], device=self._device)

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
        group_B, slot_B = (torch.tensor(of_row, device=self._device) for of_row in zip(*self._places, strict=True))
        self._rows = Rows(group_B, slot_B, (len(self._lengths), self._width), self._steps)
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
            self._cache.copy(*zip(*moves, strict=True))
        return slots

    def _lay_out(self, families: dict[int, list[tuple[int, int]]], width: int) -> dict[tuple[int, int], Place]:
        """Make a grid of the groups that go on, with so many slots each."""
        groups = sorted(families)
        slots = {child: (row, slot) for row, group in enumerate(groups) for slot, child in enumerate(families[group])}
        self._cache.lay_out(groups, width, [self._places[parent] for parent, _ in slots], list(slots.values()))
        self._width = width
        self._lengths = [self._lengths[group] for group in groups]
        return slots

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scale: float) -> Tensor:
        """Return the attention's output, N × H × D."""
        if self._prefill is None:
            return self._cache.attend(layer, (q_HND, k_KND, v_KND), self._rows, scale)
        self._cache.read_prompts(layer, k_KND, v_KND)
        return self._prefill.attend(layer, q_HND, k_KND, v_KND, scale)
