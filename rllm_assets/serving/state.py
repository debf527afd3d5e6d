"""What is on disk about a local endpoint: its state file, its lock, and one folder for each deployment.

ROOT/NAME/state.json            which server is behind the port; replaced in one step, so it is the swap itself
ROOT/NAME/lock                  held by whoever deploys or stops
ROOT/NAME/last-failure.log      the log of the last server that did not pass
ROOT/NAME/deployments/ID/       process.json, serve.log, and the bundle in a folder called NAME
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rllm_assets.data.files import write_text
from rllm_assets.serving.processes import ProcessId, is_alive, terminate
from rllm_assets.serving.records import Endpoint, ServingError


class LocalState(BaseModel):
    """The state file: who serves an endpoint, and on which ports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: Endpoint
    port: int  # The one that clients know.
    relay: ProcessId | None  # Listens on it; unset after a stop.
    server: ProcessId | None  # Answers behind it; unset after a stop.
    server_port: int | None
    deployment: Path | None  # The server's folder.


class Home:
    """The folder of one local endpoint."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.directory = root.absolute() / name
        self.state_file = self.directory / "state.json"
        self.deployments = self.directory / "deployments"
        self.last_failure = self.directory / "last-failure.log"

    def read(self) -> LocalState | None:
        """Return the state, or None where nothing was deployed yet; raise ServingError for a file that is no state."""
        try:
            text = self.state_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return LocalState.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ServingError(
                f"{self.state_file} is no state of an endpoint ({where}: {first['msg']}); "
                f"end the processes it was about, remove {self.directory}, and deploy again"
            ) from error

    def write(self, state: LocalState) -> None:
        """Replace the state in one step."""
        write_text(self.state_file, state.model_dump_json(indent=2) + "\n")

    @contextmanager
    def locked(self, timeout_seconds: float) -> Iterator[None]:
        """Hold the endpoint's lock; raise ServingError where another deployment keeps it for `timeout_seconds`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "lock"
        deadline = time.monotonic() + timeout_seconds
        with path.open("a+", encoding="utf-8") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        holder = path.read_text(encoding="utf-8").strip() or "unknown"
                        raise ServingError(
                            f"another deployment of {self.name} (process {holder}) was still under way "
                            f"after {timeout_seconds:g} s; wait for it or end it"
                        ) from error
                    time.sleep(0.05)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def sweep(self, keep: Path | None, grace_seconds: float) -> None:
        """End the servers and remove the folders of every deployment but `keep`.

        These are what a swap replaced, and what a deployment left that was killed half-way.
        """
        for folder in sorted(self.deployments.glob("*")) if self.deployments.is_dir() else []:
            if folder == keep:
                continue
            process = read_process(folder)
            if process is not None:
                terminate(process, grace_seconds)
            shutil.rmtree(folder)


def note_process(folder: Path, process: ProcessId) -> None:
    """Write down which process serves a deployment folder, so that it can be ended should its deployment be killed."""
    write_text(folder / "process.json", process.model_dump_json() + "\n")


def read_process(folder: Path) -> ProcessId | None:
    """Return the living process of a deployment folder, if it has one."""
    path = folder / "process.json"
    if not path.is_file():
        return None
    process = ProcessId.model_validate_json(path.read_text(encoding="utf-8"))
    return process if is_alive(process) else None
