"""Compute on a Ray cluster: actors that hold a state each, replaced when they die."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Generic, TypeAlias

from rllm_assets.compute.cluster import Cluster, busy_error, require
from rllm_assets.compute.records import A, ComputeError, Outcome, R, Size, T, WorkerLostError

# Ray's own types do not cover actors whose options are a dict.
ObjectRef: TypeAlias = Any
ActorHandle: TypeAlias = Any

# For a place on a cluster that others use too; starting a worker takes seconds.
START_SECONDS = 300.0
CLOSE_SECONDS = 15.0
# Workers in a row that die while they make their state; more of them would die too.
STILLBORN = 3
_MEANWHILE_SECONDS = 0.5


class RayCompute:
    """A cluster that this process is connected to."""

    in_process = False

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @contextmanager
    def crew(
        self, make: Callable[[], AbstractContextManager[T]], size: Size, at_most: int | None = None
    ) -> "Iterator[RayCrew[T]]":
        """Yield as many workers as fit, `at_most` so many; they come up while the first ones already work.

        Raises:
            ResourcesError: where not one fits, or none came up within `START_SECONDS`.
        """
        room = require(self.cluster, size)
        crew = RayCrew(self.cluster, make, size, room if at_most is None else min(room, at_most))
        try:
            yield crew
        finally:
            crew.close()


class _Worker:
    """The actor."""

    def open(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        """Enter the state."""
        self._owned = ExitStack()
        self._state = self._owned.enter_context(make())

    def call(self, function: Callable[[Any, Any], Any], item: object) -> object:
        """Use the state."""
        return function(self._state, item)

    def close(self) -> None:
        """Exit the state."""
        self._owned.close()


class RayCrew(Generic[T]):
    """Actors at work; one `run` at a time."""

    def __init__(
        self, cluster: Cluster, make: Callable[[], AbstractContextManager[T]], size: Size, workers: int
    ) -> None:
        import ray

        self.workers = workers
        self._cluster = cluster
        self._size = size
        options: dict[str, float] = {"num_cpus": size.cpus}
        if size.gpus:
            options["num_gpus"] = size.gpus
        remote: Any = ray.remote
        self._actor = remote(**options)(_Worker)
        self._make = ray.put(make)
        self._idle: list[ActorHandle] = []
        # What workers do that nobody waits for: making their state, or calls of a run that was left early.
        self._starting: dict[ObjectRef, ActorHandle] = {}
        self._abandoned: dict[ObjectRef, ActorHandle] = {}
        self._stillborn = 0
        for _ in range(workers):
            self._hire()

    def run(
        self,
        call: Callable[[T, A], R],
        items: Iterable[A],
        retries: int = 0,
        meanwhile: Callable[[], None] | None = None,
    ) -> Iterator[Outcome[A, R]]:
        """Yield outcomes as they come, calling `meanwhile` now and then.

        Raises:
            ComputeError: where workers cannot be had any more.
        """
        import ray

        function = ray.put(call)
        tasks = _Tasks(items)
        under_way: dict[ObjectRef, tuple[ActorHandle, A, int]] = {}
        try:
            while True:
                while self._idle and (task := tasks.next()) is not None:
                    worker = self._idle.pop()
                    under_way[worker.call.remote(function, task[0])] = (worker, *task)
                if not under_way and tasks.done:
                    return
                for ref in self._wait([*under_way], not under_way, meanwhile):
                    worker, item, tries = under_way.pop(ref)
                    outcome: Outcome[A, R] = _outcome(ref, item)
                    if not isinstance(outcome.error, WorkerLostError):
                        self._idle.append(worker)
                    else:
                        self._dismiss(worker)
                        self._hire()
                        if tries < retries:
                            tasks.again(item, tries + 1)
                            continue
                    yield outcome
        finally:
            self._abandoned |= {ref: worker for ref, (worker, _, _) in under_way.items()}

    def close(self) -> None:
        """Let every worker exit its state, and end it."""
        import ray

        closing = [worker.close.remote() for worker in self._idle]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)
        for worker in (*self._idle, *self._starting.values(), *self._abandoned.values()):
            self._dismiss(worker)
        self._idle.clear()
        self._starting.clear()
        self._abandoned.clear()

    def _hire(self) -> None:
        worker = self._actor.remote()
        self._starting[worker.open.remote(self._make)] = worker

    @staticmethod
    def _dismiss(worker: ActorHandle) -> None:
        import ray

        ray.kill(worker)

    def _wait(self, awaited: list[ObjectRef], bounded: bool, meanwhile: Callable[[], None] | None) -> list[ObjectRef]:
        """Wait until anything ends; return what of `awaited` did."""
        import ray

        others: list[ObjectRef] = [*self._starting, *self._abandoned]
        until = time.monotonic() + START_SECONDS
        ended: list[ObjectRef] = []
        while not ended:
            if bounded and time.monotonic() >= until:
                raise busy_error(self._cluster, self._size, START_SECONDS)
            timeout = max(0.0, until - time.monotonic()) if bounded else None
            if meanwhile is not None:
                meanwhile()
                timeout = _MEANWHILE_SECONDS if timeout is None else min(timeout, _MEANWHILE_SECONDS)
            ended, _ = ray.wait([*awaited, *others], num_returns=1, timeout=timeout)
        for ref in ended:
            if ref in self._starting:
                self._welcome(ref)
            elif ref in self._abandoned:
                worker = self._abandoned.pop(ref)
                if isinstance(_outcome(ref, None).error, WorkerLostError):
                    self._dismiss(worker)
                    self._hire()
                else:
                    self._idle.append(worker)
        return [ref for ref in ended if ref not in others]

    def _welcome(self, ref: ObjectRef) -> None:
        worker = self._starting.pop(ref)
        error = _outcome(ref, None).error
        if error is None:
            self._stillborn = 0
            self._idle.append(worker)
            return
        self._dismiss(worker)
        if not isinstance(error, WorkerLostError):
            raise error
        self._stillborn += 1
        if self._stillborn >= STILLBORN:
            raise ComputeError(f"{STILLBORN} workers in a row died while they started; the last: {error}")
        self._hire()


class _Tasks(Generic[A]):
    """Items that are still to be done, with the tries so far; those that come back go first."""

    def __init__(self, items: Iterable[A]) -> None:
        self._items = iter(items)
        self._again: list[tuple[A, int]] = []
        self._exhausted = False

    @property
    def done(self) -> bool:
        """Whether nothing is left, as far as was looked."""
        return self._exhausted and not self._again

    def next(self) -> tuple[A, int] | None:
        """Take one; None where there is none left."""
        if self._again:
            return self._again.pop()
        for item in self._items:
            return item, 0
        self._exhausted = True
        return None

    def again(self, item: A, tries: int) -> None:
        """Give one back."""
        self._again.append((item, tries))


def _outcome(ref: ObjectRef, item: A) -> Outcome[A, Any]:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return Outcome(item, ray.get(ref))
    except RayTaskError as error:
        # Ray's own exception inherits from the cause's class, but carries a traceback as its message.
        return Outcome(item, error=error.cause if isinstance(error.cause, Exception) else error)
    except RayError as error:
        reason = " ".join(str(error).split())[:300]
        return Outcome(item, error=WorkerLostError(f"the worker died: {reason}"))
    # A result that cannot be unpickled here fails as its class likes.
    except Exception as error:  # noqa: BLE001
        return Outcome(item, error=error)
