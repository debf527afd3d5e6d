"""What MLflow has not got yet, kept in files: one JSONL journal a run, with copies of the files that its lines name."""

import fcntl
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from rllm_assets.tracking.operations import Entry, OpenRun, Operation

logger = logging.getLogger(__name__)


class Journal:
    """The unsent operations of one run, the run's opening first; there is no file where nothing is unsent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = path.with_suffix(".files")

    @property
    def pending(self) -> bool:
        """Whether something is unsent."""
        return self.path.exists()

    def append(self, opened: OpenRun, *operations: Operation) -> None:
        """Keep operations of the run that `opened` began, with copies of the files they name."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as file:
            size = file.seek(0, os.SEEK_END)
            lines = [] if size else [opened]
            lines += [operation.kept_in(self._files / uuid.uuid4().hex) for operation in operations]
            text = b"".join(Entry(operation=line).model_dump_json().encode() + b"\n" for line in lines)
            file.write(text if not size or _ends_line(file) else b"\n" + text)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def replaying(self) -> Iterator[list[Operation]]:
        """Yield what is unsent; it is forgotten when the block ends without an error."""
        with self._locked() as file:
            file.seek(0)
            yield list(_read(file, self.path))
            self.path.unlink()
            shutil.rmtree(self._files, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        while True:
            file = self.path.open("a+b")
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._is_at_path(file):
                break
            # Another process sent the journal and removed it while this one waited for the lock.
            file.close()
        with file:
            yield file

    def _is_at_path(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False


class Spool:
    """The journals of the runs of one experiment at one MLflow."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def journal(self, opened: OpenRun) -> Journal:
        """Return a run's journal."""
        return Journal(self.directory / f"{opened.time:015d}-{opened.key}.jsonl")

    def pending(self) -> list[Journal]:
        """Return the journals that hold something, in the order in which their runs began: parents before children."""
        return [Journal(path) for path in sorted(self.directory.glob("[0-9]*.jsonl"))]

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Yield whether the caller is the one that sends now; False where another process does."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "sending.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def reject(self, opened: OpenRun, operation: Operation, reason: str) -> None:
        """Keep an operation that MLflow refused for good, with the reason."""
        logger.warning(
            "run %s: %s; what was refused is kept in %s", opened.name, reason, self.directory / "rejected.jsonl"
        )
        line = {"run": opened.name, "key": opened.key, "reason": reason, "operation": operation.model_dump(mode="json")}
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "rejected.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _ends_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _read(file: BinaryIO, path: Path) -> Iterator[Operation]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            yield Entry.model_validate_json(line).operation
        except ValidationError:
            # A process that was killed while it wrote leaves half a line.
            logger.warning("%s:%d: not a whole entry; it is left out", path, number)
