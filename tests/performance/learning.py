"""What training on `pocket` brings: held-out pass@1 of base, warm start and LoRA, and the seconds of training.

    python -m tests.performance.learning --algorithm ppo --seed 0 --output /tmp/learning [--set KEY=VALUE]
    python -m tests.performance.learning --algorithm ppo --seed 0 --output /tmp/learning --choose

The policies answer the same held-out issues with the same seeds at temperature 0.6; intervals and one-sided p-values come from
a bootstrap over functions. Splits, the base's rollouts and its held-out answers are made once in the output directory, for all
runs there; a killed run goes on. Seconds of training are those of warm start, reinforcement and the fold evaluations.

With --choose nothing of the held-out side is read: folds 0 and 1 of the training side are not trained on, and their pass rate
is printed as training goes on. Settings are chosen by it.
"""

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from rllm_assets.config import Layer, Resolved, RLLMConfig
from rllm_assets.data.benchmarks import find_benchmark
from rllm_assets.data.files import write_text
from rllm_assets.data.hashing import content_hash
from rllm_assets.data.issues import Issue
from rllm_assets.data.splits import TUNING_FOLD
from rllm_assets.data.tables import attempts_from_table, attempts_to_table, read_table, write_table
from rllm_assets.data.training_files import read_training_file
from rllm_assets.data.trajectories import Attempt
from rllm_assets.evaluation.compare import evaluate, report
from rllm_assets.evaluation.records import IssueResult, PolicyName
from rllm_assets.integration import BenchmarkIntegration
from rllm_assets.models.found import find_model
from rllm_assets.rollouts.first_attempts import sample_base
from rllm_assets.scripts.flags import settings
from rllm_assets.scripts.showing import report_table
from rllm_assets.training.records import TrainingData, TrainingResult, run_key
from rllm_assets.training.run import train

BENCHMARK = "pocket"
# Over the preset, which is for grpo_positive; docs/results.md says how they were chosen.
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "ppo": {"training.max_steps": 14, "training.evaluate_every": 4, "training.critic_warmup_steps": 2},
    "rloo": {"training.max_steps": 12, "training.evaluate_every": 4},
}
# Folds of the training side that settings are chosen on.
CHOSEN_ON = (TUNING_FOLD, 1)


@dataclass(frozen=True)
class Sides:
    """The issues of the benchmark, those of the training side with their folds."""

    train: list[tuple[Issue, int]]
    val: list[Issue]


def sides(config: RLLMConfig, directory: Path) -> Sides:
    """Read, verify and split the benchmark, or read what an earlier run wrote."""
    folder = directory / BENCHMARK
    if not (folder / "result.json").exists():
        asyncio.run(BenchmarkIntegration(config, directory).convert_existing_benchmark(BENCHMARK))
    issues, _, folds, _ = read_training_file(folder / "train.jsonl")
    val, *_ = read_training_file(folder / "val.jsonl")
    return Sides([(issue, fold or 0) for issue, fold in zip(issues, folds, strict=True)], val)


def of_the_base(config: RLLMConfig, issues: Sequence[Issue], format_name: str, directory: Path) -> list[Attempt]:
    """Return the base's rollouts, of seed 0 for every run, sampled once."""
    config = config.model_copy(update={"training": config.training.model_copy(update={"seed": 0})})
    parts = [config.model, config.trajectories, sorted(issue.content_hash for issue in issues)]
    path = directory / f"rollouts-{_key(config, parts)}.parquet"
    if not path.exists():
        attempts, _ = sample_base(config, issues, format_name)
        write_table(attempts_to_table(attempts), path)
    return attempts_from_table(read_table(path))


def base_results(config: RLLMConfig, val: Sequence[Issue], format_name: str, directory: Path) -> list[IssueResult]:
    """Return the base's results on the held-out issues, measured once."""
    parts = [config.model, config.evaluation, sorted(issue.content_hash for issue in val)]
    path = directory / f"base-{_key(config, parts)}.json"
    if not path.exists():
        found = evaluate(config, val, format_name, {"base": None})
        write_text(path, json.dumps([result.model_dump(mode="json") for result in found]))
    return [IssueResult.model_validate(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _key(config: RLLMConfig, parts: Sequence[object]) -> str:
    plain = [part.model_dump(mode="json") if hasattr(part, "model_dump") else part for part in parts]  # pyright: ignore[reportAttributeAccessIssue]
    return content_hash([*plain, find_model(config.model.name).content_hash])[:16]


def trained(resolved: Resolved, data: TrainingData, directory: Path, console: Console) -> TrainingResult:
    """Train, and print each step."""
    config = resolved.config
    work = directory / "runs" / run_key(config, data, find_model(config.model.name).content_hash)[:16]
    write_text(work / "config.yaml", resolved.to_yaml())
    shown = (
        "reward",
        "fold_pass_rate",
        "response_tokens",
        "entropy",
        "grad_norm",
        "explained_variance",
        "kl_reference",
    )

    def on_metrics(metrics: Mapping[str, float]) -> None:
        if "seconds" in metrics:
            values = "  ".join(f"{name} {metrics[name]:.3g}" for name in shown if name in metrics)
            console.print(f"step {metrics['step']:3.0f}  {metrics['seconds']:4.0f} s  {values}", highlight=False)

    return train(config, data, work, on_metrics)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", default="grpo_positive")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="directory of all runs, and of what they share")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a configuration key")
    parser.add_argument("--choose", action="store_true", help="look at a part of the training side, to choose settings")
    options = parser.parse_args(arguments)
    benchmark, console = find_benchmark(BENCHMARK), Console(soft_wrap=True)
    given = {
        "training.algorithm": options.algorithm,
        "training.seed": options.seed,
        # Everything that is held out.
        "evaluation.max_issues": None,
        **SETTINGS.get(options.algorithm, {}),
        **settings(options.set),
    }
    resolved = benchmark.resolve(Layer("command line", given))
    config, answers = resolved.config, benchmark.answer_format
    found = sides(config, options.output)
    folds = CHOSEN_ON if options.choose else (TUNING_FOLD,)
    learnt = [issue for issue, fold in found.train if fold not in folds]
    watched = [issue for issue, fold in found.train if fold in folds]
    rollouts = of_the_base(config, [issue for issue, _ in found.train], answers, options.output)
    ids = {issue.instance_id for issue in learnt}
    data = TrainingData(learnt, watched, [a for a in rollouts if a.instance_id in ids], answers)
    result = trained(resolved, data, options.output, console)
    for warning in result.warnings:
        console.print(f"warning: {warning}", highlight=False)
    seconds, steps = result.metrics[-1]["seconds"], int(result.metrics[-1]["step"])
    console.print(
        f"{options.algorithm}, seed {options.seed}: {steps} steps in {seconds:.0f} s, best {result.best_step}"
    )
    if options.choose:
        return
    adapters: dict[PolicyName, Path | None] = {"lora": result.adapter}
    if result.warm_start_adapter is not None:
        adapters = {"warm_start": result.warm_start_adapter, **adapters}
    measured = evaluate(config, found.val, answers, adapters)
    compared = report(
        BENCHMARK, [*base_results(config, found.val, answers, options.output), *measured], config.evaluation
    )
    console.print(report_table(compared))
    write_text(result.adapter.parent / "report.json", compared.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    main()
