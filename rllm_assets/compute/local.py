"""Compute in this process: one worker, one item after the other."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic

from rllm_assets.compute.records import A, Crew, Outcome, R, Size, T


class LocalCompute:
    """This process; sizes are not asked for, since the process already has what it has."""

    in_process = True

    @contextmanager
    def crew(
        self,
        make: Callable[[], AbstractContextManager[T]],
        size: Size,
        at_most: int | None = None,
    ) -> Iterator[Crew[T]]:
        """Yield a crew of one."""
        with make() as state:
            yield LocalCrew(state)


class LocalCrew(Generic[T]):
    """The caller itself at work: an interrupt reaches the work, and torch keeps its threads."""

    workers = 1

    def __init__(self, state: T) -> None:
        self._state = state

    def run(
        self,
        call: Callable[[T, A], R],
        items: Iterable[A],
        retries: int = 0,
    ) -> Iterator[Outcome[A, R]]:
        """Yield the outcome of each item, in their order."""
        for item in items:
            try:
                outcome: Outcome[A, R] = Outcome(item, call(self._state, item))
            # Whatever a call raises is its outcome, as it is on a cluster.
            except Exception as error:  # noqa: BLE001
                outcome = Outcome(item, error=error)
            yield outcome
