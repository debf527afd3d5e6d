"""One trial of tuning: a short training and its score; and the second look at two of them."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rllm_assets.config import DistributedConfig, RLLMConfig
from rllm_assets.data.files import atomic_directory
from rllm_assets.evaluation.compare import evaluate
from rllm_assets.models.found import find_model
from rllm_assets.training.records import TrainingData
from rllm_assets.training.run import train
from rllm_assets.training.warm_adapter import borrow_warm_start, lend_warm_start, warm_start_key

_ADAPTER = "adapter"


@dataclass(frozen=True)
class Task:
    """One trial; its data has the issues that it is measured on as the fold.

    Attributes:
        number: of the trial.
        config: the whole configuration of the trial.
        data: to train on and to be measured on.
        directory: of the trial, on storage that workers share.
        warm_starts: a directory of adapters that trials share, whose warm starts are the same.
        allow_unsandboxed: judge without a strong sandbox.
    """

    number: int
    config: RLLMConfig
    data: TrainingData
    directory: Path
    warm_starts: Path
    allow_unsandboxed: bool


@dataclass(frozen=True)
class Score:
    """How a trial went: the pass rate on its fold after the last step, and the seconds it took."""

    pass_rate: float
    seconds: float


@dataclass(frozen=True)
class Remeasured:
    """A trial's pass rate on each issue, by id, with the issue's group."""

    rates: dict[str, float]
    groups: dict[str, str]


def trial_config(config: RLLMConfig, *, here: bool) -> RLLMConfig:
    """Return the configuration of a short training that is measured at its end.

    Args:
        config: with the trial's values.
        here: whether it runs on this machine, with its processes; on a cluster a trial is one worker.
    """
    steps = config.tuning.steps
    training = config.training.model_copy(
        update={
            "max_steps": steps,
            "epochs": None,
            "max_minutes": None,
            "patience": None,
            "evaluate_every": steps,
            "checkpoint_every": steps,
            "keep_checkpoints": 1,
        }
    )
    distributed = config.distributed if here else DistributedConfig()
    return config.model_copy(update={"training": training, "distributed": distributed})


def run_trial(task: Task) -> Score:
    """Train from the beginning, leaving the adapter of the last step in the trial's directory.

    Raises:
        TrainingError, BadLossError, ModelError, SandboxUnavailableError: as training does.
    """
    began = time.monotonic()
    shutil.rmtree(task.directory, ignore_errors=True)
    base = find_model(task.config.model.name)
    key = warm_start_key(task.config, task.data, base.content_hash)
    work = task.directory / "work"
    borrow_warm_start(task.warm_starts, work, key)
    result = train(task.config, task.data, work, allow_unsandboxed=task.allow_unsandboxed)
    if result.warm_start_adapter is not None:
        lend_warm_start(result.warm_start_adapter, task.warm_starts, key)
    _copy(work / "checkpoints" / f"step-{task.config.tuning.steps:06d}", task.directory / _ADAPTER, "adapter_*")
    shutil.rmtree(work)
    rates = [row["fold_pass_rate"] for row in result.metrics if "fold_pass_rate" in row]
    return Score(rates[-1], time.monotonic() - began)


def remeasure(task: Task, samples: int, seed: int) -> Remeasured:
    """Measure a trial's adapter again, with answers of other seeds.

    Raises:
        ModelError: where the adapter is not there any more.
    """
    settings = task.config.evaluation.model_copy(
        update={"samples": samples, "greedy": False, "max_issues": None, "seed": seed}
    )
    config = task.config.model_copy(update={"evaluation": settings})
    results = evaluate(
        config,
        task.data.fold,
        task.data.format_name,
        {"lora": task.directory / _ADAPTER},
        allow_unsandboxed=task.allow_unsandboxed,
    )
    counted = [result for result in results if result.samples]
    return Remeasured(
        {result.instance_id: result.pass_rate for result in counted},
        {result.instance_id: result.group for result in counted},
    )


def _copy(source: Path, target: Path, files: str = "*") -> None:
    with atomic_directory(target) as draft:
        for file in source.glob(files):
            shutil.copy(file, draft)
