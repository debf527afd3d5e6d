"""Shares of one piece of work side by side, wherever the configuration says: processes of this machine, or a Ray cluster."""

import gc
import itertools
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

from rllm_assets.compute.cluster import ray_cluster
from rllm_assets.compute.processes import Part, Result, Send, run_processes
from rllm_assets.compute.ray_crew import RayCompute
from rllm_assets.compute.records import Size
from rllm_assets.config import DistributedConfig

# Ray's own types do not cover actors whose options are given at run time.
ActorHandle: TypeAlias = Any
# A worker that is lost takes its share's work with it; more than once is no accident.
_RETRIES = 1


def run_shares(
    distributed: DistributedConfig,
    function: Callable[[Part, Send], Result],
    shares: Sequence[Part],
    on_message: Callable[[Any], None] | None = None,
) -> list[Result]:
    """Return ``function(share, send)`` for each share, in their order.

    With `compute: local` each share has a process of this machine; one alone runs in this one. With `compute: ray` workers of
    the configured size take them up, as many at once as the cluster has room for, and a share whose worker is lost is begun
    again. What a share sends reaches `on_message` here, once. The first exception of a share is raised here.

    Args:
        distributed: where, and the size of a worker.
        function: importable by name, as are the classes of shares and results; it does and sends the same for the same share.
        shares: the parts of the work.
        on_message: called with what the shares send.

    Raises:
        ProcessError: where a process of this machine dies without an exception.
        ClusterUnreachableError, ResourcesError: where there is no cluster, or not one worker has room.
        WorkerLostError: where a share takes its workers down.
    """
    if distributed.compute == "local":
        return run_processes(function, shares, on_message)
    with ray_cluster(distributed.ray_address) as cluster:
        size = Size(distributed.cpus_per_worker, distributed.gpus_per_worker)
        return _run_on(RayCompute(cluster), size, function, shares, on_message or (lambda _: None))


def sandboxes(distributed: DistributedConfig, shares: int) -> int | None:
    """Return how many sandboxes each of so many shares has to itself; None for one a core of the machine."""
    if distributed.compute == "ray":
        return distributed.cpus_per_worker
    return None if shares == 1 else 1


@dataclass(frozen=True)
class _Share:
    """What a worker is given."""

    number: int
    function: Callable[[Any, Send], Any]
    part: Any
    mailbox: ActorHandle


def _run_on(
    compute: RayCompute,
    size: Size,
    function: Callable[[Part, Send], Result],
    parts: Sequence[Part],
    notify: Callable[[Any], None],
) -> list[Result]:
    import ray

    mailbox: ActorHandle = ray.remote(num_cpus=0)(_Mailbox).remote()  # pyright: ignore[reportCallIssue, reportArgumentType]
    heard = [0] * len(parts)

    def deliver() -> None:
        for share, number, content in ray.get(mailbox.take.remote()):
            # A share that was begun again sends again what it had sent.
            if number == heard[share]:
                heard[share] += 1
                notify(content)

    try:
        shares = [_Share(number, function, part, mailbox) for number, part in enumerate(parts)]
        results: dict[int, Result] = {}
        with compute.crew(nullcontext, size, len(shares)) as crew:
            for outcome in crew.run(_work, shares, _RETRIES, meanwhile=deliver):
                results[outcome.item.number] = outcome.value()
        deliver()
        return [results[number] for number in range(len(parts))]
    finally:
        ray.kill(mailbox)


def _work(_: None, share: _Share) -> Any:
    import ray

    numbers = itertools.count()

    def send(content: Any) -> None:
        # Waited for, so that everything has been sent when the share is done.
        ray.get(share.mailbox.put.remote((share.number, next(numbers), content)))

    try:
        return share.function(share.part, send)
    except Exception as error:
        error.add_note(f"in a worker on Ray, share {share.number}:\n{traceback.format_exc()}")
        raise
    finally:
        # A model may be held by a cycle of references, and this worker's next share needs the room.
        gc.collect()


class _Mailbox:
    """The actor between shares and caller."""

    def __init__(self) -> None:
        self._letters: list[tuple[int, int, Any]] = []

    def put(self, letter: tuple[int, int, Any]) -> None:
        """Leave a share's number, the number of its message, and the message."""
        self._letters.append(letter)

    def take(self) -> list[tuple[int, int, Any]]:
        """Return what was left since the last time."""
        letters, self._letters = self._letters, []
        return letters
