"""What data-parallel workers tell one another; alone, a worker talks to itself."""

from typing import Protocol, TypeVar

from torch import Tensor

T = TypeVar("T")


class Collective(Protocol):
    """The workers that train together."""

    rank: int
    size: int

    def gather(self, part: T) -> list[T]:
        """Return every worker's part, in the order of ranks, on every worker."""
        ...

    def sum(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over the workers."""
        ...


class Alone:
    """A single worker."""

    rank = 0
    size = 1

    def gather(self, part: T) -> list[T]:
        """Return the only part."""
        return [part]

    def sum(self, tensors: list[Tensor]) -> None:
        """Leave the tensors as they are."""
