"""Which issues come next."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any


class Curriculum:
    """Orders the training issues: each comes once before any comes twice.

    Under `solve_rate` those are drawn first whose answers are expected to differ: an issue that is always or never solved
    teaches a group-relative method nothing. The expectation starts at the base's rollouts and follows the policy's own.
    The order is a pure function of the seed and of what was recorded.
    """

    # Issues that look hopeless or mastered keep a small chance: four rollouts do not settle it.
    FLOOR = 0.02
    MEMORY = 0.5

    def __init__(
        self, ids: Sequence[str], mode: str, seed: int, solve_rates: Mapping[str, float] | None = None
    ) -> None:
        """Start with the base's solve rate of each issue, where it is known."""
        self._ids = sorted(ids)
        self._mode = mode
        self._random = random.Random(seed)
        # An issue without rollouts might be anything.
        self._rates = {i: (solve_rates or {}).get(i, 0.5) for i in self._ids}
        self._left: list[str] = []

    def next(self, count: int) -> list[str]:
        """Return the ids of the next `count` issues."""
        chosen: list[str] = []
        while len(chosen) < count:
            if not self._left:
                self._left = list(self._ids)
            # Efraimidis and Spirakis: the largest u^(1/w) are a weighted draw without replacement.
            keys = {i: math.log(self._random.random() or 1e-300) / self._weight(i) for i in self._left}
            drawn = sorted(self._left, key=lambda i: (-keys[i], i))[: count - len(chosen)]
            chosen += drawn
            taken = set(drawn)
            self._left = [i for i in self._left if i not in taken]
        return chosen

    def record(self, issue_id: str, solve_rate: float) -> None:
        """Take note of how many of an issue's answers were right just now."""
        self._rates[issue_id] += (1 - self.MEMORY) * (solve_rate - self._rates[issue_id])

    def _weight(self, issue_id: str) -> float:
        if self._mode == "uniform":
            return 1.0
        rate = self._rates[issue_id]
        return rate * (1 - rate) + self.FLOOR

    def state_dict(self) -> dict[str, Any]:
        """Return the position as JSON values."""
        version, internal, gauss = self._random.getstate()
        return {"rates": self._rates, "left": self._left, "random": [version, list(internal), gauss]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a position."""
        self._rates = dict(state["rates"])
        self._left = list(state["left"])
        version, internal, gauss = state["random"]
        self._random.setstate((version, tuple(internal), gauss))
