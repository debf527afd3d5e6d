"""Train a LoRA on a benchmark or on files of issues, without Dagster.

python -m rllm_assets.scripts.train_rllm --benchmark-id pocket --output-dir out --epochs 3 --batch-size 4 --learning-rate 5e-5
python -m rllm_assets.scripts.train_rllm --train-path train.jsonl --val-path val.jsonl --output-dir out
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rllm_assets.config import Resolved
from rllm_assets.data.benchmarks import find_benchmark
from rllm_assets.scripts.flags import add_config_flags, resolved_config
from rllm_assets.scripts.showing import print_error, report_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 after one line on what is wrong with the input."""
    args = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        return asyncio.run(_train(args, console))
    except (ValueError, RuntimeError, OSError) as error:
        print_error(console, error)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_rllm", description="Train a LoRA on closed issues.", allow_abbrev=False
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--benchmark-id", help="a bundled benchmark, or one of --benchmarks-dir")
    source.add_argument("--train-path", type=Path, help="JSONL or Parquet, one issue a row")
    parser.add_argument("--val-path", type=Path, help="held-out issues to compare LoRA and base on, with --train-path")
    parser.add_argument("--benchmarks-dir", type=Path, help="default: $RLLM_BENCHMARKS or ./benchmarks")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--answer-format", default="function", help="with --train-path (default: function)")
    parser.add_argument(
        "--epochs", type=float, help="passes over the training issues; without --max-steps the only limit"
    )
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--batch-size", type=int, help="issues a step")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--algorithm")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--allow-unsandboxed", action="store_true", help="run model-written code without a strong sandbox"
    )
    add_config_flags(parser)
    return parser


async def _train(args: argparse.Namespace, console: Console) -> int:
    from rllm_assets.integration import BenchmarkIntegration
    from rllm_assets.training.api import RLLMTrainer

    if args.val_path and not args.train_path:
        raise ValueError("--val-path goes with --train-path; a benchmark is split by its own configuration")
    benchmark = find_benchmark(args.benchmark_id, args.benchmarks_dir) if args.benchmark_id else None
    flags: dict[str, object] = {
        "training.epochs": args.epochs,
        "training.max_steps": args.max_steps,
        "training.batch_size": args.batch_size,
        "training.learning_rate": args.learning_rate,
        "training.algorithm": args.algorithm,
        "training.seed": args.seed,
    }
    resolved = resolved_config(args, benchmark, flags)
    if args.epochs is not None and resolved.origins.get("training.max_steps") != "command line":
        # Whoever asks for three epochs wants three, not the preset's number of steps.
        resolved = _without_max_steps(resolved)
    train_path, val_path, answer_format = args.train_path, args.val_path, args.answer_format
    if benchmark is not None:
        integration = BenchmarkIntegration(
            resolved.config, args.output_dir, args.benchmarks_dir, allow_unsandboxed=args.allow_unsandboxed
        )
        _, train_path, val_path = await integration.convert_existing_benchmark(benchmark.id)
        answer_format = benchmark.answer_format

    with _progress(console) as progress:
        task = progress.add_task("training", total=None, status="loading the model")

        def on_metrics(metrics: Mapping[str, float]) -> None:
            if "base_sampled" in metrics:
                progress.update(
                    task,
                    total=metrics["base_sampled_total"],
                    completed=metrics["base_sampled"],
                    status="sampling the base",
                )
            elif "warm_start_steps" in metrics:
                loss = metrics.get("warm_start_loss")
                status = "warm start, a loss that is no number" if loss is None else f"warm start, loss {loss:.3f}"
                progress.update(
                    task, total=metrics["warm_start_steps"], completed=metrics["warm_start_step"], status=status
                )
            else:
                shown = ("reward", "fold_pass_rate", "response_tokens")
                status = "  ".join(f"{name} {metrics[name]:.3g}" for name in shown if name in metrics)
                progress.update(
                    task, total=resolved.config.training.max_steps, completed=metrics["step"], status=status
                )

        trainer = RLLMTrainer(
            resolved,
            args.output_dir,
            answer_format=answer_format,
            allow_unsandboxed=args.allow_unsandboxed,
            on_metrics=on_metrics,
        )
        trained = await trainer.train(train_path, val_path)
    for row in trained.rejected:
        console.print(f"[yellow]left out[/] {row}", highlight=False)
    for warning in trained.result.warnings:
        console.print(f"[yellow]warning:[/] {warning}", highlight=False)
    output = Console()
    if trained.report is not None:
        output.print(report_table(trained.report))
    output.print(f"adapter: {trained.adapter}", highlight=False, soft_wrap=True)
    return 0


def _without_max_steps(resolved: Resolved) -> Resolved:
    training = resolved.config.training.model_copy(update={"max_steps": None})
    config = resolved.config.model_copy(update={"training": training})
    return Resolved(config, {**resolved.origins, "training.max_steps": "command line (--epochs)"})


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("{task.fields[status]}"), console=console)


if __name__ == "__main__":
    sys.exit(main())
