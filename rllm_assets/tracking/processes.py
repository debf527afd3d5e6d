"""Which process opened a run, and whether that process has gone."""

import os
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

_PROC = Path("/proc")


class ProcessIdentity(BaseModel):
    """One process, told apart from any later one with the same id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str = Field(description="Host name.")
    pid: int = Field(description="Process id.")
    started: str = Field(
        default="", description="Start time in clock ticks since boot; empty where the system does not say."
    )
    boot: str = Field(default="", description="Id of the boot of the machine.")
    namespace: str = Field(default="", description="Process namespace: ids of one container mean nothing in another.")


def current_process() -> ProcessIdentity:
    """Return the identity of the calling process."""
    return _identity(os.getpid())


def ancestor(pid: int) -> ProcessIdentity | None:
    """Return the identity of the calling process, or of one that it descends from, by its id; None for any other process."""
    above = os.getpid()
    while above and above != pid:
        above = _parent(above)
    return _identity(pid) if above else None


def has_gone(process: ProcessIdentity) -> bool:
    """Tell whether `process` has certainly ended; False for one of another host or container."""
    if process.host != socket.gethostname() or process.namespace != _namespace():
        return False
    if process.boot != _boot():
        return True
    if not process.started:
        return not _accepts_signals(process.pid)
    state, started = _state_and_start(process.pid)
    # A zombie has ended; only its parent has not noticed.
    return started != process.started or state == "Z"


def _identity(pid: int) -> ProcessIdentity:
    _, started = _state_and_start(pid)
    return ProcessIdentity(host=socket.gethostname(), pid=pid, started=started, boot=_boot(), namespace=_namespace())


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _state_and_start(pid: int) -> tuple[str, str]:
    fields = _stat(pid)
    return (fields[0], fields[19]) if fields else ("", "")


def _stat(pid: int) -> list[str]:
    """Return the third and later fields of what the system says of a process, see proc(5); none where it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    # The second field is the program's name in brackets, which may hold spaces and brackets itself.
    return text.rpartition(")")[2].split()


def _accepts_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""
