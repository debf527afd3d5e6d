"""Compare an adapter with its untouched base on held-out issues, without Dagster.

python -m rllm_assets.scripts.evaluate_rllm --adapter out/adapter --val-path out/pocket/val.jsonl
python -m rllm_assets.scripts.evaluate_rllm --adapter out/adapter --benchmark-id pocket
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from rllm_assets.config import RLLMConfig
from rllm_assets.data.benchmarks import Benchmark, find_benchmark
from rllm_assets.data.files import write_text
from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.evaluation.records import require_adapter
from rllm_assets.scripts.flags import add_config_flags, add_source_flags, refuse_idle, resolved_config
from rllm_assets.scripts.showing import find_model_first, print_error, progress_bar, report_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 after one line on what is wrong with the input."""
    args = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        return _evaluate(args, console)
    except (ValueError, RuntimeError, OSError) as error:
        print_error(console, error)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate_rllm", description="Compare an adapter with its base.", allow_abbrev=False
    )
    parser.add_argument("--adapter", type=Path, required=True, help="directory with adapter_model.safetensors")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--val-path", type=Path, help="held-out issues, JSONL or Parquet")
    source.add_argument("--benchmark-id", help="a benchmark, of which the held-out split is used")
    add_source_flags(parser, "--val-path")
    parser.add_argument("--output", type=Path, help="also write the report here, as JSON")
    parser.add_argument(
        "--allow-unsandboxed", action="store_true", help="run model-written code without a strong sandbox"
    )
    add_config_flags(parser)
    return parser


def _evaluate(args: argparse.Namespace, console: Console) -> int:
    refuse_idle(args, {"--answer-format": "--val-path", "--benchmarks-dir": "--benchmark-id"})
    benchmark = find_benchmark(args.benchmark_id, args.benchmarks_dir) if args.benchmark_id else None
    config = resolved_config(args, benchmark, {}).config
    require_adapter(args.adapter)
    find_model_first(console, config.model.name)
    # After the checks, because torch takes seconds.
    from rllm_assets.evaluation.compare import evaluate, report

    with console.status("verifying the issues" if benchmark else "reading the issues"):
        held_out, rejected = _held_out(args, benchmark, config)
    for row in rejected:
        console.print(f"[yellow]left out[/] {escape(str(row))}", highlight=False)
    with progress_bar(console) as progress:
        task = progress.add_task("answers", total=None, status="")
        results = evaluate(
            config,
            held_out,
            benchmark.answer_format if benchmark else args.answer_format or "function",
            {"base": None, "lora": args.adapter},
            lambda done, total: progress.update(task, completed=done, total=total),
            allow_unsandboxed=args.allow_unsandboxed,
        )
    measured = report(args.benchmark_id or args.val_path.stem, results, config.evaluation)
    Console().print(report_table(measured))
    if args.output:
        write_text(args.output, measured.model_dump_json(indent=2) + "\n")
    return 0


def _held_out(
    args: argparse.Namespace, benchmark: Benchmark | None, config: RLLMConfig
) -> tuple[list[Issue], list[Rejected]]:
    from rllm_assets.data.training_files import read_training_file
    from rllm_assets.integration import BenchmarkIntegration

    if benchmark is None:
        issues, _, _, rejected = read_training_file(args.val_path)
        return issues, rejected
    integration = BenchmarkIntegration(
        config, benchmarks_dir=args.benchmarks_dir, allow_unsandboxed=args.allow_unsandboxed
    )
    divided = asyncio.run(integration.divide_benchmark(benchmark.id))
    return divided.splits.val, divided.rejected


if __name__ == "__main__":
    sys.exit(main())
