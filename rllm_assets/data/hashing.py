"""Names for content: the same content always has the same hash, whatever run, machine or path it came from."""

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def content_hash(content: Any) -> str:
    """Return the SHA-256 of `content`'s canonical JSON (sorted keys, no spaces), as 64 hex digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def combined_hash(hashes: Iterable[str]) -> str:
    """Return one hash for a sequence of hashes, in their order."""
    digest = hashlib.sha256()
    for part in hashes:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unchanged_file_hash(path: Path) -> str:
    """Return a file's `file_hash`; one whose size and time have not changed since the last call is not read again."""
    state = path.stat()
    return _remembered_hash(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=100_000)
def _remembered_hash(path: Path, _modified: int, _size: int) -> str:
    return file_hash(path)


def directory_hash(directory: Path, exclude: frozenset[str] = frozenset()) -> str:
    """Return one hash for a directory's files: their relative paths and bytes, less the file names in `exclude`."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name not in exclude)
    return combined_hash(f"{path.relative_to(directory).as_posix()} {file_hash(path)}" for path in files)
