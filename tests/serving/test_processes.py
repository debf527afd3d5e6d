"""Detached processes: recognised, ended, quoted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rllm_assets.serving.processes import ProcessId, is_alive, last_lines, spawn, terminate
from rllm_assets.serving.records import ServingError

WAITS = "import signal; print('up', flush=True); signal.pause()"
WILL_NOT_STOP = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def start(code: str, directory: Path) -> tuple[subprocess.Popen[bytes], ProcessId]:
    """Start Python code detached and return when it has printed its first line."""
    log = directory / "log"
    popen, process = spawn([sys.executable, "-IS", "-c", code], directory, os.environ, log)
    while not log.read_text():
        assert popen.poll() is None
    return popen, process


def test_a_process_has_a_session_of_its_own_and_no_input(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()))"
    popen, _ = spawn([sys.executable, "-IS", "-c", code], tmp_path, os.environ, tmp_path / "log")
    assert popen.wait() == 0
    assert (tmp_path / "log").read_text() == "True ''\n"


def test_a_process_is_alive_until_it_ended_even_if_nobody_collected_it(tmp_path: Path) -> None:
    popen, process = start(WAITS, tmp_path)
    assert is_alive(process)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process)
    popen.wait()
    assert not is_alive(process)


def test_the_same_number_with_another_start_is_another_process() -> None:
    assert not is_alive(ProcessId(pid=os.getpid(), started="00000000:1"))


def test_terminate_asks_first_and_then_insists(tmp_path: Path) -> None:
    popen, process = start(WAITS, tmp_path)
    terminate(process, grace_seconds=30)
    assert popen.wait() == -signal.SIGTERM

    (tmp_path / "log").unlink()
    popen, process = start(WILL_NOT_STOP, tmp_path)
    terminate(process, grace_seconds=0.1)
    assert popen.wait() == -signal.SIGKILL


def test_terminate_reaches_the_children_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = f"subprocess.Popen([sys.executable, '-IS', '-c', {WAITS!r}])"
    code = f"import signal, subprocess, sys; print({child}.pid, flush=True); signal.pause()"
    popen, process = spawn([sys.executable, "-IS", "-c", code], tmp_path, os.environ, log)
    while "up" not in log.read_text():
        assert popen.poll() is None
    (number,) = (word for word in log.read_text().split() if word.isdigit())

    terminate(process, grace_seconds=30)

    stat = Path(f"/proc/{number}/stat")
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        pass


def test_terminating_what_is_gone_is_no_error(tmp_path: Path) -> None:
    popen, process = start(WAITS, tmp_path)
    popen.kill()
    popen.wait()
    terminate(process, grace_seconds=30)


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"^/no/such/program cannot be started: No such file or directory$"):
        spawn(["/no/such/program"], tmp_path, os.environ, tmp_path / "log")


def test_last_lines_are_the_last_and_drop_what_was_overwritten(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log) == "(no log)"
    log.write_text("")
    assert last_lines(log) == "(an empty log)"
    log.write_bytes(b"".join(b"line %d\n" % index for index in range(100_000)) + b"50%\r100%\n\nKilled \xff")
    assert last_lines(log, 3) == "line 99999\n100%\nKilled \ufffd"
