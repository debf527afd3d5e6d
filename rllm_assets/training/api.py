"""Training from files, for people without Dagster: `RLLMTrainer`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rllm_assets.config import Resolved, RLLMConfig, from_config
from rllm_assets.data.files import atomic_directory, write_text
from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.data.leaks import Divided, all_leaks
from rllm_assets.data.splits import TUNING_FOLD, fold_numbers
from rllm_assets.data.tables import attempts_to_table, issues_to_table
from rllm_assets.data.training_files import TrainingFileError, read_training_file
from rllm_assets.data.trajectories import Attempt
from rllm_assets.evaluation.compare import evaluate, report
from rllm_assets.evaluation.records import Report
from rllm_assets.models.found import find_model
from rllm_assets.models.hardware import default_device
from rllm_assets.models.memory import check_policy_fits
from rllm_assets.rollouts.first_attempts import sample_base
from rllm_assets.training.records import Metrics, TrainingData, TrainingResult, run_key
from rllm_assets.training.run import train
from rllm_assets.training.schedules import ENDLESS, planned_steps


@dataclass(frozen=True)
class Trained:
    """A finished training: the adapter's directory, how it went, the rows that were left out, and how it compares.

    `report` compares the LoRA with its base on the validation file, where one was given.
    """

    adapter: Path
    result: TrainingResult
    rejected: list[Rejected]
    report: Report | None


class RLLMTrainer:
    """Trains a LoRA on files of issues."""

    def __init__(
        self,
        config: RLLMConfig | Resolved,
        output_dir: Path | str = "output",
        *,
        answer_format: str = "function",
        allow_unsandboxed: bool = False,
        on_metrics: Callable[[Metrics], None] | None = None,
    ) -> None:
        """Bind configuration and output directory; nothing is loaded yet.

        `on_metrics` is called with the metrics of each step, and before and after with how far sampling of the base
        (`base_sampled` of `base_sampled_total`), the warm start, and the comparison (`compared` of `compared_total`) are.

        Raises:
            ConfigError: for a key that was set and has no effect in the chosen mode.
        """
        self._resolved = config if isinstance(config, Resolved) else from_config(config)
        self._output = Path(output_dir)
        self._answer_format = answer_format
        self._allow_unsandboxed = allow_unsandboxed
        self._on_metrics = on_metrics

    async def train(self, train_data_path: Path | str, val_data_path: Path | str | None = None) -> Trained:
        """Train on one file and, where another is given, compare the LoRA with its base on that one.

        Where the configuration starts from the base's own answers and the file has none, the base is sampled first.
        Stopping and the choice of the checkpoint use fold 0 of the training file (its column `fold`, or cut by hash), never the
        validation file, so that the comparison is honest. Writes adapter/, config.yaml (every key with its origin),
        metrics.jsonl and report.json to the output directory. A killed run goes on when it is called again.

        Raises:
            FileNotFoundError: for a path that leads nowhere.
            TrainingFileError: where a file has no usable row.
            TrainingError: where training cannot start or go on.
            ModelError: where the model does not fit, before it is downloaded, or does not load.
        """
        return await asyncio.to_thread(
            self._train, Path(train_data_path), Path(val_data_path) if val_data_path else None
        )

    def _train(self, train_path: Path, val_path: Path | None) -> Trained:
        if self._resolved.config.distributed.ray_address is None:
            # Before a model is downloaded that this machine cannot hold.
            check_policy_fits(self._resolved.config.model, default_device())
        data, rejected = self._read(train_path)
        val: list[Issue] = []
        if val_path is not None:
            val, _, _, more = read_training_file(val_path)
            rejected += more
            if found := self._leaks(data, val):
                files = f"{train_path.name} and {val_path.name}"
                raise TrainingFileError(f"{files} share issues: {found[0]}; `splits` says what is kept apart")
        config, unsandboxed = self._resolved.config, self._allow_unsandboxed
        data = self._with_rollouts(data)
        if (steps := planned_steps(config.training, len(data.train))) < ENDLESS:
            self._tell({"step": 0, "planned_steps": steps})
        # Another configuration or other data in the same output directory is another run.
        work = self._output / "work" / run_key(config, data, find_model(config.model.name).content_hash)[:16]
        result = train(config, data, work, self._on_metrics, allow_unsandboxed=unsandboxed)
        comparison = self._compare(result.adapter, val) if val else None
        write_text(self._output / "config.yaml", self._resolved.to_yaml())
        write_text(self._output / "metrics.jsonl", (work / "metrics.jsonl").read_text(encoding="utf-8"))
        if comparison is not None:
            write_text(self._output / "report.json", comparison.model_dump_json(indent=2) + "\n")
        with atomic_directory(self._output / "adapter") as target:
            for file in result.adapter.iterdir():
                (target / file.name).write_bytes(file.read_bytes())
        return Trained(self._output / "adapter", result, rejected, comparison)

    def _tell(self, metrics: Metrics) -> None:
        if self._on_metrics is not None:
            self._on_metrics(metrics)

    def _leaks(self, data: TrainingData, val: list[Issue]) -> list[str]:
        train = issues_to_table([*data.train, *data.fold])
        config = self._resolved.config.splits
        return all_leaks(Divided(train, issues_to_table(val), config, trajectories=attempts_to_table(data.attempts)))

    def _with_rollouts(self, data: TrainingData) -> TrainingData:
        """Add rollouts of the base where the configuration learns from them and the file brought none."""
        config = self._resolved.config
        wanted = config.training.warm_start == "own" or config.training.curriculum == "solve_rate"
        known = any(attempt.kind == "rollout" for attempt in data.attempts)
        if not wanted or known or config.trajectories.rollouts_per_issue == 0:
            return data

        attempts, _ = sample_base(
            config,
            data.train,
            self._answer_format,
            lambda done, total: self._tell({"step": 0, "base_sampled": done, "base_sampled_total": total}),
            allow_unsandboxed=self._allow_unsandboxed,
        )
        return TrainingData(data.train, data.fold, attempts, self._answer_format)

    def _compare(self, adapter: Path, val: list[Issue]) -> Report:
        results = evaluate(
            self._resolved.config,
            val,
            self._answer_format,
            {"base": None, "lora": adapter},
            lambda done, total: self._tell({"compared": done, "compared_total": total}),
            allow_unsandboxed=self._allow_unsandboxed,
        )
        return report(self._output.name, results, self._resolved.config.evaluation)

    def _read(self, train_path: Path) -> tuple[TrainingData, list[Rejected]]:
        issues, attempts, folds, rejected = read_training_file(train_path)
        if all(fold is None for fold in folds):
            folds = list(fold_numbers(issues, self._resolved.config.splits))
        marked = list(zip(issues, folds, strict=True))
        train_issues = [issue for issue, fold in marked if fold != TUNING_FOLD]
        fold_issues = [issue for issue, fold in marked if fold == TUNING_FOLD]
        if not train_issues:
            # So few groups that all fell into one fold: better to learn without stopping early than not at all.
            train_issues, fold_issues = fold_issues, []
        return TrainingData(train_issues, fold_issues, _of(train_issues, attempts), self._answer_format), rejected


def _of(issues: list[Issue], attempts: list[Attempt]) -> list[Attempt]:
    known = {issue.instance_id for issue in issues}
    return [attempt for attempt in attempts if attempt.instance_id in known]
