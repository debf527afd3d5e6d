"""Which issues come next."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any


class Curriculum:
    """Orders the training issues.

    Under `uniform` each comes once before any comes twice. Under `solve_rate` those are drawn whose answers are expected to
    differ, ``p (1 - p)`` of them being the most: an issue that is always or never solved teaches a group-relative method
    nothing. What is expected starts at the base's rollouts and follows the policy's own; an issue that has been drawn waits for
    the others. The order is a pure function of the seed and of what was recorded.
    """

    # Issues that look hopeless or mastered keep a small chance: a few rollouts do not settle it.
    FLOOR = 0.02
    # Rollouts that the mean solve rate of all issues counts as, beside an issue's own.
    PRIOR = 2.0
    MEMORY = 0.5

    def __init__(
        self, ids: Sequence[str], mode: str, seed: int, tries: Mapping[str, Sequence[bool]] | None = None
    ) -> None:
        """Start with the base's rollouts of each issue, true for those that resolved it, where there are any."""
        known = tries or {}
        flat = [resolved for results in known.values() for resolved in results]
        mean = sum(flat) / len(flat) if flat else 0.5
        self._ids = sorted(ids)
        self._mode = mode
        self._random = random.Random(seed)
        self._rates = {
            i: (sum(known.get(i, ())) + self.PRIOR * mean) / (len(known.get(i, ())) + self.PRIOR) for i in self._ids
        }
        self._drawn = dict.fromkeys(self._ids, 0)

    def next(self, count: int) -> list[str]:
        """Return the ids of the next `count` issues; none comes twice among them unless there are too few."""
        chosen: list[str] = []
        while len(chosen) < count:
            left = [i for i in self._ids if i not in chosen] if len(chosen) < len(self._ids) else list(self._ids)
            if self._mode == "uniform":
                fewest = min(self._drawn.values())
                left = [i for i in self._ids if self._drawn[i] == fewest]
            # Efraimidis and Spirakis: the largest u^(1/w) are a weighted draw without replacement.
            keys = {i: math.log(self._random.random() or 1e-300) / self._weight(i) for i in left}
            drawn = sorted(left, key=lambda i: (-keys[i], i))[: count - len(chosen)]
            for issue_id in drawn:
                self._drawn[issue_id] += 1
            chosen += drawn
        return chosen

    def record(self, issue_id: str, solve_rate: float) -> None:
        """Take note of how many of an issue's answers were right just now."""
        self._rates[issue_id] += (1 - self.MEMORY) * (solve_rate - self._rates[issue_id])

    def _weight(self, issue_id: str) -> float:
        if self._mode == "uniform":
            return 1.0
        rate = self._rates[issue_id]
        return (rate * (1 - rate) + self.FLOOR) / (1 + self._drawn[issue_id])

    def state_dict(self) -> dict[str, Any]:
        """Return the position as JSON values."""
        version, internal, gauss = self._random.getstate()
        return {"rates": self._rates, "drawn": self._drawn, "random": [version, list(internal), gauss]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a position."""
        self._rates = dict(state["rates"])
        self._drawn = dict(state["drawn"])
        version, internal, gauss = state["random"]
        self._random.setstate((version, tuple(internal), gauss))
