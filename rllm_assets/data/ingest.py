"""A benchmark's issues from its source to Parquet, in a stream: read, checked, told apart, and near-duplicates found.

Memory does not grow with the issues, but for what tells one from another: about 800 bytes each. Rows of large files are checked
and hashed by several processes; what is written does not depend on how many.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rllm_assets.compute.processes import cores
from rllm_assets.compute.streaming import stream_processes
from rllm_assets.data.admission import Admission, Place, keyed
from rllm_assets.data.benchmarks import Benchmark
from rllm_assets.data.duplicates import near_duplicate_clusters
from rllm_assets.data.files import atomic_directory
from rllm_assets.data.issues import Issue, Rejected, issue_to_row
from rllm_assets.data.lines import Line
from rllm_assets.data.rows import RawRow, parsed, unparsed_rows
from rllm_assets.data.shingles import Grams, ShingleStore, shingles_of
from rllm_assets.data.sources import SOURCES, Convert, check_options, guarded, nothing_read, stream_issues
from rllm_assets.data.tables import (
    ISSUE_SCHEMA,
    NEAR_DUPLICATE_SCHEMA,
    REJECTED_SCHEMA,
    TableWriter,
    rejected_to_table,
    table_writer,
)

ISSUES, REJECTED, NEAR_DUPLICATES = "issues.parquet", "rejected.parquet", "near_duplicates.parquet"

# Files below this are read faster than processes are started.
_ALONE_BELOW = 64 << 20
_BATCH_ROWS, _BATCH_BYTES = 1000, 8 << 20
# A row that is no line has been parsed already; as what it counts in a batch.
_PARSED_BYTES = 64 << 10
_EXAMPLES = 50

_Unread = tuple[Path, Line | RawRow]
_Row = _Unread | Issue | Rejected


@dataclass(frozen=True)
class Ingested:
    """What came of reading a benchmark.

    Attributes:
        directory: holds the issues, the quarantined rows and the clusters of near-duplicates, each as a Parquet file.
        issues: how many there are.
        reasons: how many rows were quarantined, by category.
        rejected: the first of them.
        clusters: how many clusters of near-duplicates there are.
        clustered: how many issues they hold.
    """

    directory: Path
    issues: int
    reasons: dict[str, int]
    rejected: tuple[Rejected, ...]
    clusters: int
    clustered: int


def ingest(benchmark: Benchmark, directory: Path, processes: int | None = None) -> Ingested:
    """Read a benchmark into Parquet files in `directory`, which is replaced as a whole.

    `issues.parquet` has a row an issue, in the order of the source; `rejected.parquet` a row for each that is quarantined, by
    file, line, field and reason; `near_duplicates.parquet` the cluster of each issue that has a near-duplicate, by the words of
    report and fix.

    Args:
        benchmark: what to read.
        directory: where to write. Scratch files of about the size of the texts lie beside it meanwhile.
        processes: how many convert rows; by the size of the files where it is not given.

    Raises:
        BenchmarkError: where an option is wrong, a file cannot be read, or no issue could be read at all.
        ProcessError: where a process dies.
    """
    check_options(benchmark)
    batches, convert, size = _read(benchmark)
    count = processes or (1 if size < _ALONE_BELOW else cores())
    with atomic_directory(directory) as draft:
        with (
            table_writer(draft / ISSUES, ISSUE_SCHEMA) as issues,
            table_writer(draft / REJECTED, REJECTED_SCHEMA) as rejected,
        ):
            taken = _Taken(issues, rejected, ShingleStore(draft), benchmark.options.get("limit"))
            for prepared in stream_processes(functools.partial(_prepare, convert=convert), batches, count):
                taken.add(prepared)
                if taken.is_full:
                    break
            taken.flush()
        if not taken.ids:
            raise nothing_read(benchmark, taken.examples[0] if taken.examples else None)
        clusters = _write_clusters(taken, draft / NEAR_DUPLICATES)
    return Ingested(
        directory=directory,
        issues=len(taken.ids),
        reasons=dict(taken.reasons.most_common()),
        rejected=tuple(taken.examples),
        clusters=len(clusters),
        clustered=sum(clusters.values()),
    )


def compared_text(issue: Issue) -> str:
    """Return what near-duplicates are told by: the report and the fix."""
    return f"{issue.problem_statement}\n{issue.patch}"


def _read(benchmark: Benchmark) -> tuple[Iterator[list[_Row]], Convert | None, int]:
    """Return the rows in batches, what makes an issue of one, and how many bytes their files have."""
    rows = SOURCES[benchmark.source].rows
    if rows is None:
        return _batches(stream_issues(benchmark)), None, 0
    found = rows(benchmark)
    unread = ((file, row) for file in found.files for row in unparsed_rows(file))
    return _batches(guarded(benchmark, unread)), found.convert, sum(file.stat().st_size for file in found.files)


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    batch: list[_Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row[1].data) if isinstance(row, tuple) and isinstance(row[1], Line) else _PARSED_BYTES
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@dataclass(frozen=True)
class _Prepared:
    """A batch of issues as they are stored and told apart, and the rows among them that are none.

    `places` are files and lines; of `rejected`, each stands behind so many issues of the batch. `grams` are those of one issue
    after the other's, `sizes` how many each has.
    """

    table: pa.Table
    keys: list[bytes]
    places: list[Place]
    grams: Grams
    sizes: npt.NDArray[np.int64]
    rejected: list[tuple[int, Rejected]]


def _prepare(batch: Sequence[_Row], convert: Convert | None) -> _Prepared:
    rows, keys, places, texts, rejected = [], [], [], [], []
    for item in batch:
        issue, place = _placed(item, convert)
        found = keyed(issue, place)
        if isinstance(found, Rejected):
            rejected.append((len(rows), found))
            continue
        issue, key = found
        rows.append(issue_to_row(issue))
        keys.append(key)
        places.append(place)
        texts.append(compared_text(issue))
    grams, sizes = shingles_of(texts)
    return _Prepared(pa.Table.from_pylist(rows, schema=ISSUE_SCHEMA), keys, places, grams, sizes, rejected)


def _placed(row: _Row, convert: Convert | None) -> tuple[Issue | Rejected, Place]:
    if isinstance(row, tuple):
        assert convert is not None
        file, raw = row[0], parsed(row[1])
        return convert(file, raw), (file.name, raw.line)
    where = row.source if isinstance(row, Issue) else row
    return row, (where.file, where.line)


class _Taken:
    """The issues that are taken, written as they come, and those that are refused."""

    def __init__(self, issues: TableWriter, rejected: TableWriter, store: ShingleStore, limit: int | None) -> None:
        self._issues = issues
        self._rejected = rejected
        self._waiting: list[Rejected] = []
        self._limit = limit
        self._admission = Admission()
        self.store = store
        self.ids: list[str] = []
        self.reasons: Counter[str] = Counter()
        self.examples: list[Rejected] = []

    @property
    def is_full(self) -> bool:
        """Whether there are as many as are wanted."""
        return len(self.ids) == self._limit

    def add(self, prepared: _Prepared) -> None:
        """Take a batch's issues up to the limit, less those that repeat others."""
        ids: list[str] = prepared.table.column("instance_id").to_pylist()
        unread = iter([*prepared.rejected, (len(ids) + 1, None)])
        place, row = next(unread)
        taken = np.zeros(len(ids), bool)
        for index in range(len(ids) + 1):
            while row is not None and place == index and not self.is_full:
                self._reject(row)
                place, row = next(unread)
            if index == len(ids) or self.is_full:
                break
            refusal = self._admission.refusal(ids[index], prepared.keys[index], prepared.places[index])
            if refusal:
                self._reject(refusal)
            else:
                taken[index] = True
                self.ids.append(ids[index])
        self._issues.write(prepared.table if taken.all() else prepared.table.filter(pa.array(taken)))
        self.store.append(prepared.grams[np.repeat(taken, prepared.sizes)], prepared.sizes[taken])
        if len(self._waiting) >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the refused rows that wait."""
        self._rejected.write(rejected_to_table(self._waiting))
        self._waiting = []

    def _reject(self, row: Rejected) -> None:
        self.reasons[row.category] += 1
        self._waiting.append(row)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(row)


def _write_clusters(taken: _Taken, path: Path) -> Counter[int]:
    """Write which issues are near-duplicates, and return how many there are in each cluster."""
    labels = near_duplicate_clusters(taken.store)
    sizes = Counter(labels)
    clusters = Counter({label: size for label, size in sizes.items() if size > 1})
    members = [(taken.ids[index], taken.ids[label]) for index, label in enumerate(labels) if label in clusters]
    rows = [{"instance_id": instance_id, "cluster": first} for instance_id, first in members]
    with table_writer(path, NEAR_DUPLICATE_SCHEMA) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=NEAR_DUPLICATE_SCHEMA))
    return clusters
