"""Detached processes that are known again later: started, recognised, ended, and the last words they logged.

A process is named by its number and the moment it started, so that a number the kernel has given to somebody else is
never mistaken for ours (proc(5), field 22 of stat, in ticks since the boot that boot_id names).
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rllm_assets.serving.records import ServingError


class ProcessId(BaseModel):
    """One process of this machine, also after its number has been reused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started: str


def spawn(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], log: Path, inherit: Sequence[int] = ()
) -> tuple[subprocess.Popen[bytes], ProcessId]:
    """Start a process in a session of its own, so that neither the end of its parent nor a closed terminal ends it.

    Its output is appended to `log`, its input is empty, and of the open files it gets only those in `inherit`.
    Raises ServingError where the command cannot be executed.
    """
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(inherit),
            )
        except OSError as error:
            raise ServingError(f"{command[0]} cannot be started: {error.strerror}") from error
    started = _started(process.pid)
    if started is None:
        raise ServingError(f"{command[0]} (process {process.pid}) cannot be found in /proc; local endpoints need Linux")
    return process, ProcessId(pid=process.pid, started=started)


def detach(process: subprocess.Popen[bytes]) -> None:
    """Leave a process to itself: it is collected should it end while this one still runs, and nobody waits for it."""
    threading.Thread(target=process.wait, name=f"collect-{process.pid}", daemon=True).start()


def is_alive(process: ProcessId) -> bool:
    """Tell whether this very process still runs; one that has ended and was not yet collected does not."""
    return _started(process.pid) == process.started and _state(process.pid) not in {"Z", "X"}


def terminate(process: ProcessId, grace_seconds: float) -> None:
    """End a process: TERM for it and those it started, and KILL for them if it is still there after `grace_seconds`.

    Returns when it is gone, at once if it already was. Raises ServingError where it belongs to another user.
    """
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
        if not is_alive(process):
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ServingError(f"process {process.pid} belongs to another user, who has to end it") from error
        deadline = time.monotonic() + patience
        while is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.02)


def last_lines(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log, or a word that there are none."""
    if not log.is_file():
        return "(no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 65_536))
        text = file.read().decode("utf-8", "replace")
    # A progress bar rewrites its line with carriage returns; only its last state says something.
    kept = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n") if line.strip()]
    return "\n".join(kept[-lines:]) or "(an empty log)"


def _started(pid: int) -> str | None:
    fields = _stat(pid)
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{boot.read_text().strip()}:{fields[19]}" if fields else None


def _state(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[0] if fields else None


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third (the state) on, or None where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command's name in parentheses, which may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()
