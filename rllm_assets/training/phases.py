"""Seconds by phase of a step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """A clock for each phase."""

    def __init__(self) -> None:
        """Start with none."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time inside to a phase."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - begin

    def metrics(self, sampled_tokens: float, trained_tokens: float) -> dict[str, float]:
        """Return the seconds of each phase, and the tokens a second of rollouts and update."""
        return {
            "sampled_tokens_per_second": sampled_tokens / max(self.seconds["rollouts"], 1e-9),
            "trained_tokens_per_second": trained_tokens / max(self.seconds["update"], 1e-9),
            **{f"seconds_{phase}": seconds for phase, seconds in self.seconds.items()},
        }
