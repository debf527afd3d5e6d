"""Data-parallel training on Ray: Ray Train starts the workers, and a run that lost one goes on from its checkpoint."""

import asyncio
import functools
import shutil
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rllm_assets.compute import ComputeError, Size
from rllm_assets.compute.cluster import Cluster, busy_error, ray_cluster, require
from rllm_assets.compute.environment import environment
from rllm_assets.compute.processes import portable
from rllm_assets.compute.records import one_line
from rllm_assets.config import RLLMConfig
from rllm_assets.rollouts.collect import Verifier as Judging
from rllm_assets.training.collective import ProcessGroup, WorkerGoneError
from rllm_assets.training.records import Metrics, TrainingData, TrainingResult
from rllm_assets.training.trainer import OnMetrics, Trainer
from rllm_assets.verification import Verifier

MakeVerifier: TypeAlias = Callable[[], AbstractContextManager[Judging]]
# Ray's own types do not cover actors whose options are given at run time.
ActorHandle: TypeAlias = Any

# Losses in a row without a new step between them; each costs the steps since the last checkpoint.
RESTARTS = 3
START_SECONDS = 300
STOP_SECONDS = 60.0
_WAIT_SECONDS = 1.0

_RAY_TRAIN_SETTINGS = {
    # Workers stay where they are: a model's path may be relative.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # One process less to start; a worker that is preempted is lost and replaced like any other.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_SECONDS),
}


class _StoppedError(RuntimeError):
    """The caller does not want the run any more."""


def train_distributed(
    config: RLLMConfig,
    data: TrainingData,
    directory: Path,
    on_metrics: OnMetrics | None = None,
    *,
    allow_unsandboxed: bool = False,
    make_verifier: MakeVerifier | None = None,
) -> TrainingResult:
    """Train with `distributed.num_workers` workers on Ray, to the same result as one worker.

    A lost worker costs the steps since the last checkpoint; they are done, and reported, again.

    Args:
        config: everything, the cluster and the size of workers included.
        data: what to learn from.
        directory: of the run, on storage that all workers share; a run that was begun there goes on.
        on_metrics: called here, in this thread, while the workers train.
        allow_unsandboxed: let workers judge without a strong sandbox.
        make_verifier: makes each worker's verifier; by default one with a sandbox for each of its CPUs.

    Raises:
        ClusterUnreachableError, ResourcesError: where there is no cluster, or it is too small.
        ComputeError: where workers were lost more than `RESTARTS` times without a step between; another call goes on.
        TrainingError, BadLossError, CheckpointError, ModelError, SandboxUnavailableError: as the workers raise them.
    """
    import ray

    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    asked = config.distributed
    size = Size(asked.cpus_per_worker, asked.gpus_per_worker)
    make = make_verifier or functools.partial(
        Verifier, workers=asked.cpus_per_worker, allow_unsandboxed=allow_unsandboxed
    )
    with ray_cluster(asked.ray_address) as cluster, environment(_RAY_TRAIN_SETTINGS):
        _check_ray_train()
        require(cluster, size, asked.num_workers)
        mailbox: ActorHandle = ray.remote(num_cpus=0)(_Mailbox).remote()  # pyright: ignore[reportCallIssue, reportArgumentType]
        run = _Fit(_Job(config, data, directory, make, mailbox), size)
        try:
            run.follow(on_metrics or (lambda _: None))
        finally:
            run.end()
            ray.kill(mailbox)
        return run.result(cluster, size)


@dataclass(frozen=True)
class _Job:
    """What each worker is given."""

    config: RLLMConfig
    data: TrainingData
    directory: Path
    make_verifier: MakeVerifier
    mailbox: ActorHandle


class _Fit:
    """Ray Train at work in a thread, so that metrics can be handed on in the caller's."""

    def __init__(self, job: _Job, size: Size) -> None:
        self._job = job
        self._size = size
        self._mailbox = job.mailbox
        self._storage = job.directory / ".ray"
        self._failure: Exception | None = None
        self._ending: tuple[TrainingResult | None, Exception | None] = (None, None)
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)
        self._thread.start()

    def _fit(self) -> None:
        """Start workers, and start them again where one was lost: not where one failed, as Ray Train's restarts would."""
        import ray
        from ray.exceptions import RayError

        losses, reached = 0, -1
        while losses <= RESTARTS:
            shutil.rmtree(self._storage, ignore_errors=True)
            try:
                _trainer(self._job, self._size, self._storage).fit()
                return
            # Kept for the thread that waits.
            except Exception as error:  # noqa: BLE001
                self._failure = error
            if self._timed_out():
                return
            try:
                over, step = ray.get(self._mailbox.progress.remote())
            except RayError:
                return
            if over:
                return
            losses = losses + 1 if step <= reached else 1
            reached = max(reached, step)

    def _timed_out(self) -> bool:
        return "StartupTimeout" in type(getattr(self._failure, "controller_failure", None)).__name__

    def follow(self, on_metrics: OnMetrics) -> None:
        """Hand on metrics until the run has ended."""
        import ray
        from ray.exceptions import RayError

        try:
            while True:
                running = self._thread.is_alive()
                rows = ray.get(self._mailbox.take.remote(_WAIT_SECONDS))
                for row in rows:
                    on_metrics(row)
                if not running and not rows:
                    break
            self._ending = ray.get(self._mailbox.ending.remote())
        except RayError as error:
            raise ComputeError(f"Ray failed while it trained: {one_line(error)}; call again to go on") from error

    def end(self) -> None:
        """Have the workers stop where they still run, and clean up."""
        if self._thread.is_alive():
            self._mailbox.stop.remote()
            self._thread.join(STOP_SECONDS)
        shutil.rmtree(self._storage, ignore_errors=True)

    def result(self, cluster: Cluster, size: Size) -> TrainingResult:
        """Return the result, or raise what went wrong: the workers' own errors come first."""
        result, error = self._ending
        if error is not None:
            raise error
        if result is not None:
            return result
        if self._timed_out():
            raise busy_error(cluster, size, START_SECONDS)
        raise ComputeError(
            f"training workers were lost more than {RESTARTS} times without a step between: {one_line(self._failure)}; "
            "call again to go on from the last checkpoint"
        )


def _check_ray_train() -> None:
    try:
        import ray.train.torch  # noqa: F401
    except ImportError as error:
        raise ComputeError(f"Ray Train is not installed ({error}): pip install 'rllm_assets[ray]'") from None


def _trainer(job: _Job, size: Size, storage: Path) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def work() -> None:
        _work(job)

    resources = {"CPU": size.cpus, **({"GPU": size.gpus} if size.gpus else {})}
    return TorchTrainer(
        work,
        # NCCL wants a GPU for each worker.
        torch_config=TorchConfig(backend="nccl" if size.gpus >= 1 else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=job.config.distributed.num_workers, use_gpu=size.gpus > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
        ),
    )


def _work(job: _Job) -> None:
    """Train as one of the workers."""
    import ray

    group = ProcessGroup()

    def report(row: Metrics) -> None:
        if not ray.get(job.mailbox.put.remote(dict(row))):
            raise _StoppedError

    try:
        with job.make_verifier() as verifier:
            on_metrics = report if group.rank == 0 else None
            result = Trainer(job.config, job.data, job.directory, verifier, on_metrics, group).run()
    except WorkerGoneError:
        raise
    except Exception as error:
        # The caller gets the error itself; raising it has Ray Train end the other workers, who wait for this one.
        ray.get(job.mailbox.fail.remote(_noted(error)))
        raise
    if group.rank == 0:
        ray.get(job.mailbox.finish.remote(result))


class _Mailbox:
    """The actor between workers and caller."""

    def __init__(self) -> None:
        self._rows: list[Metrics] = []
        self._news = asyncio.Event()
        self._over = False
        self._reached = -1
        self._result: TrainingResult | None = None
        self._error: Exception | None = None

    async def put(self, row: Metrics) -> bool:
        """Leave metrics; False where the run shall stop."""
        self._rows.append(row)
        self._reached = max(self._reached, int(row["step"]))
        self._news.set()
        return not self._over

    async def take(self, seconds: float) -> list[Metrics]:
        """Return the metrics that came, waiting a while for the first."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return []
        self._news.clear()
        rows, self._rows = self._rows, []
        return rows

    async def finish(self, result: TrainingResult) -> None:
        """Leave the result."""
        self._result = result
        self._over = True

    async def fail(self, error: Exception) -> None:
        """Leave an error; the first one is the cause of the others."""
        self._error = self._error or error
        self._over = True

    async def stop(self) -> None:
        """Ask the workers to stop."""
        self._over = True

    async def progress(self) -> tuple[bool, int]:
        """Tell whether there is nothing more to do, and the furthest step that metrics came from."""
        return self._over, self._reached

    async def ending(self) -> tuple[TrainingResult | None, Exception | None]:
        """Return result and error."""
        return self._result, self._error


def _noted(error: Exception) -> BaseException:
    error.add_note(f"in a training worker:\n{traceback.format_exc()}")
    return portable(error)
