"""Rows of files, recognised by their first bytes and never by their names: JSON, JSONL, either of them gzipped, and Parquet.

Lines and Parquet batches stream, so memory does not grow with the file; one JSON value over many lines is read whole.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_KEPT = 2000


@dataclass(frozen=True)
class RawRow:
    """A row as it stands in a file, or what is wrong with it.

    `line` counts from 1; in files without lines it is the row's place. `text` is its beginning, to be shown.
    """

    line: int
    content: dict[str, Any] | None
    problem: str
    text: str


def row_files(path: Path) -> list[Path]:
    """Return a file, or the files of a directory that rows are looked for in, in order of their names."""
    if path.is_file():
        return [path]
    return sorted(file for pattern in ("*.json", "*.jsonl", "*.gz", "*.parquet") for file in path.glob(pattern))


def raw_rows(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a file; a row that cannot be read is yielded with its problem, and the others follow.

    A JSON file is a list of rows, one row, or a mapping of ids to rows.

    Raises:
        OSError, pyarrow.ArrowException: where the file cannot be read at all.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == _PARQUET:
        yield from _parquet(path)
        return
    with _opened(path, is_gzip=magic[:2] == _GZIP) as file:
        lines = _numbered(file)
        first = next(lines, None)
        if first is None:
            return
        number, line, problem = first
        if not problem and _begins_whole(line):
            yield from _whole(line + file.read())
            return
        yield _row(number, line, problem)
        for number, line, problem in lines:
            yield _row(number, line, problem)


@contextmanager
def _opened(path: Path, *, is_gzip: bool) -> Iterator[IO[bytes]]:
    with gzip.open(path) if is_gzip else path.open("rb") as file:
        yield file  # pyright: ignore[reportReturnType]


def _numbered(file: IO[bytes]) -> Iterator[tuple[int, bytes, str]]:
    """Yield the lines that are not blank; a damaged archive ends with a line that says so."""
    number = 0
    while True:
        number += 1
        try:
            line = file.readline()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield number, b"", f"the archive is cut off or damaged here: {error}"
            return
        if not line:
            return
        if line.strip():
            yield number, line, ""


def _begins_whole(line: bytes) -> bool:
    """Whether this first line is not a row of JSONL, but the beginning of one JSON value."""
    text = line.lstrip(b"\xef\xbb\xbf \t")
    if not text.startswith((b"[", b"{")):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # A first line that is cut off in the middle is a bad row; one that only opens something goes on.
        return text.strip() in (b"[", b"{", b"[{") or (text.startswith(b"[") and not text.rstrip().endswith(b"]"))
    return isinstance(value, list) or _rows_by_id(value) is not None


def _rows_by_id(value: Any) -> list[dict[str, Any]] | None:
    """Return the rows of a mapping of ids to rows; None where it is none."""
    if not isinstance(value, dict) or not value or not all(isinstance(row, dict) for row in value.values()):
        return None
    return [{"instance_id": name, **row} for name, row in value.items()]


def _whole(data: bytes) -> Iterator[RawRow]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        rows = [_row(number, line, "") for number, line in enumerate(data.splitlines(), start=1) if line.strip()]
        if any(row.content is not None for row in rows):
            # Lines after all, of which the first is broken.
            yield from rows
        else:
            line = getattr(error, "lineno", 1)
            yield RawRow(line, None, f"not JSON: {error}", data[:_KEPT].decode(errors="replace"))
        return
    rows = value if isinstance(value, list) else _rows_by_id(value) or [value]
    for place, row in enumerate(rows, start=1):
        yield _checked(place, row, lambda row=row: json.dumps(row))


def _row(number: int, line: bytes, problem: str) -> RawRow:
    def text() -> str:
        return line.strip()[:_KEPT].decode(errors="replace")

    if problem:
        return RawRow(number, None, problem, text())
    try:
        return _checked(number, json.loads(line), text)
    except (ValueError, RecursionError) as error:
        return RawRow(number, None, f"not JSON: {error}", text())


def _checked(number: int, row: Any, text: Any) -> RawRow:
    if isinstance(row, dict):
        return RawRow(number, row, "", text()[:_KEPT])
    return RawRow(number, None, f"a {type(row).__name__} where an object is expected", text()[:_KEPT])


def _parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow.parquet as pq

    place = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                place += 1
                yield RawRow(place, row, "", str(row)[:_KEPT])
