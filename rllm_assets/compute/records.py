"""What work is, wherever it runs: sizes, outcomes, crews of workers, and what can go wrong."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
State = TypeVar("State", covariant=True)
A = TypeVar("A")
R = TypeVar("R")


class ComputeError(RuntimeError):
    """Work cannot be run where it was asked for; the message says why and what to do."""


class ClusterUnreachableError(ComputeError):
    """Nothing that is a Ray cluster answers at the configured address."""


class ResourcesError(ComputeError):
    """The cluster is too small, or too busy, for what was asked; the message names both."""


class WorkerLostError(ComputeError):
    """A worker died under its work; this says nothing about the work."""


@dataclass(frozen=True)
class Size:
    """What one worker asks a cluster for; a cluster without GPUs is not asked for one where `gpus` is 0."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __str__(self) -> str:
        """Return it for a person."""
        return _counted(self.cpus, "CPU") + (f" and {_counted(self.gpus, 'GPU')}" if self.gpus else "")


def _counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Outcome(Generic[A, R]):
    """What came of one item: a result, or the error that its call raised, or `WorkerLostError`."""

    item: A
    result: R | None = None
    error: Exception | None = None

    def value(self) -> R:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result  # pyright: ignore[reportReturnType]


class Crew(Protocol[State]):
    """Workers that each hold a state of type T, such as a verifier, and use it on item after item."""

    workers: int

    def run(self, call: Callable[[State, A], R], items: Iterable[A], retries: int = 0) -> Iterator[Outcome[A, R]]:
        """Yield the outcome of ``call(state, item)`` for each item, as they come.

        Args:
            call: a function of a module that workers can import.
            items: the next one is taken when a worker is free for it, so that it may depend on outcomes so far.
            retries: how often an item that lost its worker is given to a fresh one.
        """
        ...


class Compute(Protocol):
    """A place to run work.

    Attributes:
        in_process: whether that is this process.
    """

    in_process: bool

    def crew(
        self, make: Callable[[], AbstractContextManager[T]], size: Size, at_most: int | None = None
    ) -> AbstractContextManager[Crew[T]]:
        """Return workers whose states are entered when they start and exited when the crew is.

        Args:
            make: makes a worker's state; it must be picklable for a cluster.
            size: of each worker.
            at_most: workers; by default as many as fit.

        Raises:
            ResourcesError: where not even one fits.
        """
        ...


def one_line(error: Exception | None) -> str:
    """Return what an error says, in one line of 500 characters at most."""
    return " ".join(str(error).split())[:500]
