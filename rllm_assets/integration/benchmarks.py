"""A benchmark as train and validation files."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rllm_assets.config import RLLMConfig
from rllm_assets.data.benchmarks import Benchmark, find_benchmark
from rllm_assets.data.decontamination import foreign_issues
from rllm_assets.data.exports import EXPORTS, Dataset, ExportError, export
from rllm_assets.data.files import write_text
from rllm_assets.data.issues import Rejected
from rllm_assets.data.sources import load_issues
from rllm_assets.data.splits import Splits, own_sides, split_issues
from rllm_assets.data.tables import issues_to_table
from rllm_assets.data.training_files import write_training_file
from rllm_assets.data.trajectories import Attempt
from rllm_assets.rollouts.first_attempts import gold_attempts
from rllm_assets.rollouts.historical import Historical, historical_attempts
from rllm_assets.verification.distributed import open_verifier
from rllm_assets.verification.validation import validate_issues


class Converted(NamedTuple):
    """Where a converted benchmark lies."""

    result_path: Path
    train_path: Path
    val_path: Path


@dataclass(frozen=True)
class DividedBenchmark:
    """A benchmark's verified issues by side, historical fixes and old runs as attempts, and the rows that were left out."""

    benchmark: Benchmark
    splits: Splits
    attempts: list[Attempt]
    runs: Historical
    rejected: list[Rejected]


class BenchmarkIntegration:
    """Turns benchmarks into files that `RLLMTrainer` reads."""

    def __init__(
        self,
        config: RLLMConfig,
        output_dir: Path | str = "output",
        benchmarks_dir: Path | str | None = None,
        *,
        allow_unsandboxed: bool = False,
    ) -> None:
        """Bind the configuration, of which `splits` matters here, and where to look and to write."""
        self._config = config
        self._output = Path(output_dir)
        self._benchmarks = Path(benchmarks_dir) if benchmarks_dir else None
        self._allow_unsandboxed = allow_unsandboxed

    async def convert_existing_benchmark(self, benchmark_id: str, exports: Sequence[str] = ()) -> Converted:
        """Read, verify and split a benchmark; return the paths of the summary, the training and the validation file.

        Each training issue comes with its historical fix as a verified trajectory, and with the old runs at it, where the
        benchmark names some. `exports` names further formats, of
        `rllm_assets.data.exports.EXPORTS`, to write beside these files; the summary says where they lie. Where `splits` asks
        for a test side, it is `test.jsonl` beside them.

        Raises:
            BenchmarkError: for an unknown or unreadable benchmark.
            SplitError: where it cannot be divided.
            ExportError: for an unknown format, or one that there is nothing to write in.
        """
        return await asyncio.to_thread(self._convert, benchmark_id, exports)

    async def divide_benchmark(self, benchmark_id: str) -> DividedBenchmark:
        """Read, verify and split a benchmark, and write nothing.

        Raises:
            BenchmarkError: for an unknown or unreadable benchmark.
            SplitError: where it cannot be divided.
        """
        return await asyncio.to_thread(self._divide, benchmark_id)

    def _divide(self, benchmark_id: str) -> DividedBenchmark:
        benchmark = find_benchmark(benchmark_id, self._benchmarks)
        issues, rejected = load_issues(benchmark)
        with open_verifier(self._config.distributed, self._allow_unsandboxed) as verifier:
            issues, unverified = validate_issues(issues, verifier)
            attempts = gold_attempts(issues, benchmark.answer_format, verifier)
            sides = own_sides(issues_to_table(issues), self._config.splits)
            held_out = {issue.instance_id for issue, side in zip(issues, sides, strict=True) if side != "train"}
            old = historical_attempts(benchmark, issues, verifier, held_out=held_out)
        attempts += [attempt for issue in issues for attempt in old.attempts.get(issue.instance_id, ())]
        config = self._config.splits
        find = partial(find_benchmark, directory=self._benchmarks)
        foreign, _ = foreign_issues(config.decontaminate, benchmark.id, find)
        splits = split_issues(issues, config, attempts, foreign)
        return DividedBenchmark(benchmark, splits, attempts, old, [*rejected, *unverified, *splits.rejected])

    def _convert(self, benchmark_id: str, exports: Sequence[str]) -> Converted:
        for to in exports:
            if to not in EXPORTS:
                raise ExportError(f"unknown export {to!r}; known are {', '.join(EXPORTS)}")
        found = self._divide(benchmark_id)
        benchmark, divided = found.benchmark, found.splits
        directory = self._output / benchmark.id
        paths = Converted(directory / "result.json", directory / "train.jsonl", directory / "val.jsonl")
        training = {issue.instance_id for issue in divided.train}
        mine = [attempt for attempt in found.attempts if attempt.instance_id in training]
        write_training_file(paths.train_path, divided.train, mine, divided.folds)
        write_training_file(paths.val_path, divided.val)
        if divided.test:
            write_training_file(directory / "test.jsonl", divided.test)
        dataset = Dataset(
            name=benchmark.id,
            splits={"train": divided.train, "val": divided.val},
            attempts=mine,
            folds={issue.instance_id: fold for issue, fold in zip(divided.train, divided.folds, strict=True)},
            answer_format=benchmark.answer_format,
        )
        written = {to: export(dataset, to, directory) for to in exports}
        summary = {
            "benchmark": benchmark.id,
            "content_hash": benchmark.content_hash(),
            "train": len(divided.train),
            "val": len(divided.val),
            "test": len(divided.test),
            "rejected": [str(row) for row in found.rejected],
            "runs": found.runs.count,
            "runs_left_out": [str(row) for row in found.runs.left_out],
            "exports": {
                to: {str(path.relative_to(directory)): rows for path, rows in done.rows.items()}
                for to, done in written.items()
            },
        }
        write_text(paths.result_path, json.dumps(summary, indent=2) + "\n")
        return paths
