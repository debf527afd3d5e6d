"""Arrow tables of issues, trajectories and rejected rows: fixed schemas, content hashes, atomic Parquet."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rllm_assets.data.files import atomic_file
from rllm_assets.data.hashing import content_hash
from rllm_assets.data.issues import Issue, Rejected, issue_from_row, issue_to_row
from rllm_assets.data.trajectories import Attempt

ISSUE_SCHEMA = pa.schema(
    [
        pa.field("instance_id", pa.string(), nullable=False),
        pa.field("repo", pa.string()),
        pa.field("base_commit", pa.string()),
        pa.field("problem_statement", pa.string()),
        pa.field("hints_text", pa.string()),
        pa.field("created_at", pa.string()),
        pa.field("patch", pa.string()),
        pa.field("test_patch", pa.string()),
        pa.field("FAIL_TO_PASS", pa.list_(pa.string())),
        pa.field("PASS_TO_PASS", pa.list_(pa.string())),
        pa.field("version", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("task", pa.string(), metadata={b"format": b"JSON of FunctionTask or RepositoryTask"}),
        pa.field("source", pa.string(), metadata={b"format": b"JSON of Source"}),
        pa.field("group", pa.string()),
        pa.field("content_hash", pa.string()),
    ]
)

TRAJECTORY_SCHEMA = pa.schema(
    [
        pa.field("trajectory_id", pa.string(), nullable=False),
        pa.field("instance_id", pa.string(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("attempt", pa.int32()),
        pa.field("policy", pa.string()),
        pa.field("prompt", pa.string(), metadata={b"format": b"JSON list of chat messages"}),
        pa.field("response", pa.string()),
        pa.field("turns", pa.string(), metadata={b"format": b"JSON list of chat messages"}),
        pa.field("candidate", pa.string()),
        pa.field("response_tokens", pa.int32()),
        pa.field("finished", pa.bool_()),
        pa.field("status", pa.string()),
        pa.field("tests_passed", pa.int32()),
        pa.field("tests_broken", pa.int32()),
        pa.field("tests_total", pa.int32()),
        pa.field("reason", pa.string()),
        pa.field("sandbox_grade", pa.string()),
        pa.field("in_process", pa.bool_()),
        pa.field("verdict_source", pa.string()),
        pa.field("origin", pa.string()),
        pa.field("reward", pa.float64()),
        pa.field("seconds", pa.float64()),
    ]
)

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("line", pa.int64()),
        pa.field("field", pa.string()),
        pa.field("category", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("row", pa.string()),
    ]
)

NEAR_DUPLICATE_SCHEMA = pa.schema(
    [
        pa.field("instance_id", pa.string(), nullable=False),
        pa.field("cluster", pa.string(), metadata={b"content": b"instance_id of the cluster's first issue"}),
    ]
)

_ROW_GROUP_BYTES = 64 << 20
_SORTED_BYTES = 256 << 20
_AT_A_TIME = 1000

# Measurements of the machine, not content.
UNHASHED_COLUMNS = frozenset({"seconds"})


def issues_to_table(issues: Iterable[Issue]) -> pa.Table:
    """Return the Arrow table of some issues, in their order."""
    return pa.Table.from_pylist([issue_to_row(issue) for issue in issues], schema=ISSUE_SCHEMA)


def issues_from_table(table: pa.Table) -> list[Issue]:
    """Return the issues of an Arrow table; columns that are no part of an issue are left aside."""
    return [issue_from_row(row) for row in table.to_pylist()]


def issues_in_order(path: Path, at_a_time: int = 1000) -> Iterator[list[Issue]]:
    """Yield the issues of a Parquet file by instance_id, so many at a time; memory does not grow with the file.

    A file of more than 256 MiB is gone through once for each 256 MiB, which takes time but no other file.
    """
    with pq.ParquetFile(path) as file:
        ids = file.read(["instance_id"]).column(0).sort()
        groups = (file.metadata.row_group(group) for group in range(file.metadata.num_row_groups))
        passes = 1 + sum(group.total_byte_size for group in groups) // _SORTED_BYTES
        count = -(-len(ids) // passes)
        for first in range(0, len(ids), max(1, count)):
            last = min(first + count, len(ids)) - 1
            table = _between(file, ids[first], ids[last]).sort_by("instance_id")
            for start in range(0, len(table), at_a_time):
                yield issues_from_table(table.slice(start, at_a_time))


def _between(file: pq.ParquetFile, first: pa.Scalar, last: pa.Scalar) -> pa.Table:
    wanted = (pc.field("instance_id") >= first) & (pc.field("instance_id") <= last)
    batches = file.iter_batches(_AT_A_TIME)
    return pa.concat_tables([pa.Table.from_batches([batch]).filter(wanted) for batch in batches])


def attempts_to_table(attempts: Iterable[Attempt]) -> pa.Table:
    """Return the Arrow table of some attempts, in their order."""
    return pa.Table.from_pylist([attempt.to_row() for attempt in attempts], schema=TRAJECTORY_SCHEMA)


def attempts_from_table(table: pa.Table) -> list[Attempt]:
    """Return the attempts of an Arrow table."""
    return [Attempt.from_row(row) for row in table.to_pylist()]


def rejected_to_table(rejected: Iterable[Rejected]) -> pa.Table:
    """Return the Arrow table of the rows that could not be read."""
    return pa.Table.from_pylist([_plain(row.model_dump()) for row in rejected], schema=REJECTED_SCHEMA)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return values with a question mark for what is no Unicode, such as half a surrogate pair in the name of a field."""
    return {name: v.encode(errors="replace").decode() if isinstance(v, str) else v for name, v in row.items()}


def table_hash(table: pa.Table) -> str:
    """Return the hash of a table's names and values, less measured times: equal rows in equal order, equal hash."""
    digest = TableDigest(table.schema)
    digest.update(table)
    return digest.hexdigest()


class TableDigest:
    """The `table_hash` of a table that comes in parts, however it is divided."""

    def __init__(self, schema: pa.Schema) -> None:
        """Begin with no row."""
        self._names = [name for name in schema.names if name not in UNHASHED_COLUMNS]
        self._digest = hashlib.sha256()
        self._add(self._names)

    def update(self, part: pa.Table) -> None:
        """Add rows."""
        for batch in part.select(self._names).to_batches(_AT_A_TIME):
            for row in batch.to_pylist():
                self._add(row)

    def hexdigest(self) -> str:
        """Return the hash of the rows so far."""
        return self._digest.hexdigest()

    def _add(self, content: Any) -> None:
        self._digest.update(content_hash(content).encode() + b"\n")


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as one Parquet file, atomically."""
    with table_writer(path, table.schema) as writer:
        writer.write(table)


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator["TableWriter"]:
    """Write a table as it comes, as one Parquet file; atomically, so that after an error there is none."""
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as file:
        writer = TableWriter(file)
        yield writer
        writer.flush()


class TableWriter:
    """Collects rows to row groups of about 64 MiB; `rows` counts what has been written."""

    def __init__(self, file: pq.ParquetWriter) -> None:
        """Begin with no row."""
        self._file = file
        self._waiting: list[pa.Table] = []
        self.rows = 0

    def write(self, part: pa.Table) -> None:
        """Add rows."""
        self.rows += part.num_rows
        self._waiting.append(part)
        if sum(table.nbytes for table in self._waiting) >= _ROW_GROUP_BYTES:
            self.flush()

    def copy(self, path: Path) -> None:
        """Add the rows of a Parquet file."""
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_AT_A_TIME):
                self.write(pa.Table.from_batches([batch]))

    def flush(self) -> None:
        """Write the rows that wait."""
        if self._waiting:
            self._file.write_table(pa.concat_tables(self._waiting))
            self._waiting = []


def read_table(path: Path) -> pa.Table:
    """Read a table that `write_table` wrote.

    Raises:
        ValueError: for a file that is not Parquet, naming it and what to do.
    """
    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a readable Parquet file ({error}); materialize its asset again") from None


def schema_columns(schema: pa.Schema) -> list[dict[str, Any]]:
    """Return name, type and whether it may be null for each column of a schema."""
    return [{"name": field.name, "type": str(field.type), "nullable": field.nullable} for field in schema]
