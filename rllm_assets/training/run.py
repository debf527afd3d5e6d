"""One training run, wherever the configuration says: here, in processes of this machine, or on Ray."""

import datetime
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from rllm_assets.compute.processes import run_processes
from rllm_assets.config import RLLMConfig
from rllm_assets.training.collective import ProcessGroup, WorkerGoneError
from rllm_assets.training.records import TrainingData, TrainingResult
from rllm_assets.training.trainer import OnMetrics, Trainer
from rllm_assets.verification import Verifier

# A worker may verify slow candidates while the others wait for it.
_PATIENCE = datetime.timedelta(minutes=30)


def train(
    config: RLLMConfig,
    data: TrainingData,
    directory: Path,
    on_metrics: OnMetrics | None = None,
    *,
    allow_unsandboxed: bool = False,
) -> TrainingResult:
    """Train in `directory`, resuming what was begun there.

    Raises:
        SandboxUnavailableError: where the machine offers no strong sandbox and `allow_unsandboxed` is not set.
        TrainingError, BadLossError, CheckpointError, ModelError: as `Trainer`.
        ComputeError: where there is no cluster, or it is too small, or it loses worker after worker.
        ProcessError: where a process of this machine dies without an exception.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if config.distributed.compute == "ray":
        from rllm_assets.training.distributed import train_distributed

        return train_distributed(config, data, directory, on_metrics, allow_unsandboxed=allow_unsandboxed)
    if config.distributed.num_workers == 1:
        with Verifier(allow_unsandboxed=allow_unsandboxed) as verifier:
            return Trainer(config, data, directory, verifier, on_metrics).run()
    return _train_in_processes(config, data, directory, allow_unsandboxed, on_metrics)


@dataclass(frozen=True)
class _Worker:
    rank: int
    size: int
    rendezvous: str
    config: RLLMConfig
    data: TrainingData
    directory: Path
    allow_unsandboxed: bool


def _train_in_processes(
    config: RLLMConfig, data: TrainingData, directory: Path, allow_unsandboxed: bool, on_metrics: OnMetrics | None
) -> TrainingResult:
    size = config.distributed.num_workers
    with tempfile.TemporaryDirectory() as scratch:
        rendezvous = f"file://{scratch}/rendezvous"
        workers = [_Worker(rank, size, rendezvous, config, data, directory, allow_unsandboxed) for rank in range(size)]
        # A worker that fails leaves the group before it can tell why, and the others notice at once.
        return run_processes(_work, workers, on_metrics, consequences=(WorkerGoneError,))[0]


def _work(worker: _Worker, send: Callable[[Any], None]) -> TrainingResult:
    dist.init_process_group(
        "gloo", init_method=worker.rendezvous, rank=worker.rank, world_size=worker.size, timeout=_PATIENCE
    )
    try:
        with Verifier(workers=1, allow_unsandboxed=worker.allow_unsandboxed) as verifier:
            on_metrics = send if worker.rank == 0 else None
            trainer = Trainer(worker.config, worker.data, worker.directory, verifier, on_metrics, ProcessGroup())
            return trainer.run()
    finally:
        dist.destroy_process_group()
