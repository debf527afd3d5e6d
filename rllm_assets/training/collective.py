"""What data-parallel workers tell one another; alone, a worker talks to itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class WorkerGoneError(RuntimeError):
    """Another worker does not answer any more; this worker can only start again from the last checkpoint."""


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


class ProcessGroup:
    """The workers of torch.distributed's default process group, which must be initialised."""

    def __init__(self) -> None:
        """Look up this worker's place."""
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def gather(self, part: T) -> list[T]:
        """Return every worker's part, in the order of ranks, on every worker."""
        parts: list[T | None] = [None] * self.size
        with _noticing_loss():
            dist.all_gather_object(parts, part)
        return parts  # pyright: ignore[reportReturnType]

    def sum(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over the workers: one exchange of all of them in a row."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _noticing_loss():
            dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))


@contextmanager
def _noticing_loss() -> Iterator[None]:
    try:
        yield
    # Gloo and NCCL tell of a closed connection, or of nothing heard in time, in RuntimeErrors of various classes.
    except RuntimeError as error:
        raise WorkerGoneError(f"another training worker is gone: {' '.join(str(error).split())[:300]}") from error
