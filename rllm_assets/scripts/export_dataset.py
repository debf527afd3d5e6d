"""Write issues and attempts in the formats of others.

python -m rllm_assets.scripts.export_dataset --to rllm --partition pocket --output-dir ~/.rllm
python -m rllm_assets.scripts.export_dataset --to chat --only resolved --partition pocket --output-dir out
python -m rllm_assets.scripts.export_dataset --to parquet --benchmark-id pocket --output-dir out
python -m rllm_assets.scripts.export_dataset --to predictions --train-path train.jsonl --name mine --output-dir out
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from rllm_assets.data.answers import ANSWER_FORMATS
from rllm_assets.data.benchmarks import BenchmarkError, find_benchmark
from rllm_assets.data.exports import EXPORTS, ONLY, Dataset, ExportError, export
from rllm_assets.data.exports.dataset import SPLITS
from rllm_assets.data.exports.reading import Files, artefact_files, read_dataset
from rllm_assets.data.issues import Rejected
from rllm_assets.data.places import storage_root
from rllm_assets.data.trajectories import Kind
from rllm_assets.scripts.flags import add_config_flags, resolved_config
from rllm_assets.scripts.showing import print_error

_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 after one line on what is wrong with the input."""
    args = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        return _export(args, console)
    except (ValueError, RuntimeError, OSError, pa.ArrowException) as error:
        print_error(console, error)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export_dataset",
        description="Write issues and attempts in the formats of others.",
        epilog="\n".join(f"  {name:<12} {kind.what}" for name, kind in EXPORTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--to", required=True, choices=EXPORTS, help="the format, see below")
    parser.add_argument("--output-dir", type=Path, required=True, help="for rllm and rllm-eval: $RLLM_HOME")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--partition", metavar="ID", help="what the assets of a partition wrote")
    source.add_argument(
        "--benchmark-id", metavar="ID", help="a benchmark, read, verified and split here, with its historical fixes"
    )
    parser.add_argument("--train-path", type=Path, help="issues, JSONL or Parquet, with the attempts that are in it")
    parser.add_argument("--val-path", type=Path, help="held-out issues, likewise")
    parser.add_argument(
        "--trajectories-path", type=Path, help="a trajectories.parquet, beside --train-path or --val-path"
    )
    parser.add_argument("--evaluation-path", type=Path, help="a results.parquet of an evaluation, beside --val-path")
    parser.add_argument(
        "--storage",
        type=Path,
        help="with --partition: where the artefacts are (default: $RLLM_STORAGE, $DAGSTER_HOME/rllm)",
    )
    parser.add_argument("--benchmarks-dir", type=Path, help="default: $RLLM_BENCHMARKS or ./benchmarks")
    parser.add_argument("--name", help="name of the dataset (default: the partition or the benchmark)")
    parser.add_argument(
        "--split",
        action="append",
        default=[],
        choices=SPLITS,
        help="may be given twice (default: both; chat and rllm-eval: train)",
    )
    parser.add_argument(
        "--kind", action="append", default=[], choices=get_args(Kind), help="which attempts (default: all)"
    )
    parser.add_argument(
        "--only", choices=ONLY, help="attempts that resolve their issue, or issues that rLLM's own judge can judge"
    )
    parser.add_argument("--answer-format", choices=ANSWER_FORMATS, help="default: the benchmark's, else function")
    parser.add_argument(
        "--allow-unsandboxed", action="store_true", help="with --benchmark-id: run code without a strong sandbox"
    )
    add_config_flags(parser)
    return parser


def _export(args: argparse.Namespace, console: Console) -> int:
    _check(args)
    with tempfile.TemporaryDirectory() as scratch:
        dataset, left_out = _read(args, Path(scratch), console)
    written = export(dataset, args.to, args.output_dir, splits=args.split, kinds=args.kind, only=args.only)
    _show_left_out([*left_out, *written.left_out], console)
    for note in written.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    for path, rows in written.rows.items():
        print(f"{rows:>7} {'episodes' if args.to == 'rllm-eval' else 'rows'}  {path}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse flags that would have no effect."""
    files = {
        flag: getattr(args, flag)
        for flag in ("train_path", "val_path", "trajectories_path", "evaluation_path")
        if getattr(args, flag) is not None
    }
    named = args.partition or args.benchmark_id
    if not named and not (args.train_path or args.val_path):
        raise ExportError("name what to export: --partition, --benchmark-id, --train-path or --val-path")
    if named and files:
        raise ExportError(
            f"{_flag(next(iter(files)))} does not go with --partition or --benchmark-id, which say it all"
        )
    if not named and not args.name:
        raise ExportError("--name is needed with files: under it the dataset is found again")
    if args.storage and not args.partition:
        raise ExportError("--storage goes with --partition")
    if args.evaluation_path and not args.val_path:
        raise ExportError("--evaluation-path goes with --val-path: an evaluation answers held-out issues")
    configured = {"preset": args.preset, "config": args.config, "set": args.set}
    for flag, value in {**configured, "allow_unsandboxed": args.allow_unsandboxed}.items():
        if value and not args.benchmark_id:
            raise ExportError(f"{_flag(flag)} goes with --benchmark-id, which is verified and split by it")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _read(args: argparse.Namespace, scratch: Path, console: Console) -> tuple[Dataset, list[Rejected]]:
    name = args.name or args.partition or args.benchmark_id
    if args.benchmark_id:
        return _read_benchmark(args, name, scratch, console)
    if args.partition:
        files = artefact_files(args.storage or storage_root(), args.partition)
        return read_dataset(files, name, args.answer_format or _answer_format(args.partition, args.benchmarks_dir))
    files = Files(args.train_path, args.val_path, args.trajectories_path, args.evaluation_path)
    return read_dataset(files, name, args.answer_format or "function")


def _answer_format(partition: str, directory: Path | None) -> str:
    try:
        return find_benchmark(partition, directory).answer_format
    except BenchmarkError:
        # What was materialized can be exported where its benchmark is not.
        return "function"


def _read_benchmark(
    args: argparse.Namespace, name: str, scratch: Path, console: Console
) -> tuple[Dataset, list[Rejected]]:
    from rllm_assets.integration import BenchmarkIntegration

    benchmark = find_benchmark(args.benchmark_id, args.benchmarks_dir)
    config = resolved_config(args, benchmark, {}).config
    integration = BenchmarkIntegration(config, scratch, args.benchmarks_dir, allow_unsandboxed=args.allow_unsandboxed)
    with console.status(f"verifying the issues of {benchmark.id}"):
        _, train, val = asyncio.run(integration.convert_existing_benchmark(benchmark.id))
    return read_dataset(Files(train, val), name, args.answer_format or benchmark.answer_format)


def _show_left_out(left_out: Sequence[Rejected], console: Console) -> None:
    for row in left_out[:_SHOWN]:
        console.print(f"[yellow]left out[/] {escape(str(row))}", highlight=False, soft_wrap=True)
    if len(left_out) > _SHOWN:
        console.print(f"[yellow]left out[/] and {len(left_out) - _SHOWN:,} more rows", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
