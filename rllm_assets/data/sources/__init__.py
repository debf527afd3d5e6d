"""Sources of issues: each a function from a benchmark to an iterator of issues and of rows that could not be read."""

from collections.abc import Callable, Iterator, Mapping

from rllm_assets.data.benchmarks import Benchmark, BenchmarkError
from rllm_assets.data.issues import Issue, Rejected, read_issues
from rllm_assets.data.sources import functions, humaneval_fix

Source = Callable[[Benchmark], Iterator[Issue | Rejected]]

SOURCES: Mapping[str, Source] = {
    "functions": lambda benchmark: functions.read(benchmark.source_path, benchmark.id),
    "humaneval_fix": lambda benchmark: humaneval_fix.read(benchmark.source_path, benchmark.id),
    "issues": lambda benchmark: read_issues(benchmark.source_path),
}

_OPTIONS = frozenset({"limit"})


def load_issues(benchmark: Benchmark) -> tuple[list[Issue], list[Rejected]]:
    """Read a benchmark: its issues in order of instance_id, and the rows that could not be read.

    An `instance_id` that came before is rejected. The option `limit` keeps the first issues of the source.

    Raises:
        BenchmarkError: where an option is unknown, or no row could be read at all.
    """
    unknown = set(benchmark.options) - _OPTIONS
    if unknown:
        raise BenchmarkError(
            f"{benchmark.id}: options.{min(unknown)}: unknown; known are {', '.join(sorted(_OPTIONS))}"
        )
    issues: dict[str, Issue] = {}
    rejected: list[Rejected] = []
    for row in SOURCES[benchmark.source](benchmark):
        if isinstance(row, Rejected):
            rejected.append(row)
        elif row.instance_id in issues:
            where = row.source
            reason = f"{row.instance_id!r} came before, in {issues[row.instance_id].source.file}"
            rejected.append(Rejected(file=where.file, line=where.line, field="instance_id", reason=reason))
        else:
            issues[row.instance_id] = row
        if len(issues) == benchmark.options.get("limit"):
            break
    if not issues:
        first = f"; the first: {rejected[0]}" if rejected else ""
        raise BenchmarkError(f"{benchmark.id}: no issue could be read from {benchmark.source_path}{first}")
    return [issues[key] for key in sorted(issues)], rejected
