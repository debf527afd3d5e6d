"""Work in several processes: results in order, messages, failures, and no process left behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rllm_assets.compute import processes
from rllm_assets.compute.processes import ProcessError, run_processes

ROOT = Path(__file__).parents[2]


def double(part, send):
    send(("seen", part))
    return 2 * part


def name_threads(part, send):
    return os.getpid(), os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]


def fail_on_two(part, send):
    if part == 2:
        raise KeyError("two is not wanted")
    time.sleep(600)


def kill_itself(part, send):
    if part == 1:
        os.kill(os.getpid(), 9)
    time.sleep(600)


def raise_the_unpicklable(part, send):
    class LocalError(Exception):
        pass

    raise LocalError("made here")


class LeftAloneError(Exception):
    pass


def notice_first(part, send):
    """Each part but 0 notices what 0 does a little later: fails, is killed, or works on."""
    if part != 0:
        raise LeftAloneError("somebody is gone")
    time.sleep(0.5)
    raise ValueError("the cause")


def notice_a_death_first(part, send):
    if part != 0:
        raise LeftAloneError("somebody is gone")
    time.sleep(0.5)
    os.kill(os.getpid(), 9)


def notice_wrongly(part, send):
    if part == 1:
        raise LeftAloneError("somebody is gone")
    time.sleep(600 if part == 2 else 0)
    return part


def test_results_come_in_order_and_messages_arrive():
    messages = []
    assert run_processes(double, [1, 2, 3], messages.append) == [2, 4, 6]
    assert sorted(messages) == [("seen", 1), ("seen", 2), ("seen", 3)]


def test_one_part_runs_here():
    messages = []
    assert run_processes(double, [21], messages.append) == [42]
    assert messages == [("seen", 21)]


def test_processes_are_fresh_and_share_the_cores():
    before = os.environ.get("OMP_NUM_THREADS")
    found = run_processes(name_threads, [0, 1])
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert len({pid for pid, _, _ in found} | {os.getpid()}) == 3
    assert [(threads, policy) for _, threads, policy in found] == [(share, "passive")] * 2
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_the_first_exception_is_raised_and_the_others_end():
    with pytest.raises(KeyError, match="two is not wanted") as caught:
        run_processes(fail_on_two, [1, 2])
    assert "fail_on_two" in "".join(caught.value.__notes__)


def test_an_exception_that_cannot_travel_is_told():
    with pytest.raises(RuntimeError, match="LocalError: made here"):
        run_processes(raise_the_unpicklable, [1, 2])


def test_a_killed_process_is_told_apart():
    with pytest.raises(ProcessError, match="worker process 1 ended with exit code -9; out of memory"):
        run_processes(kill_itself, [0, 1])


def test_the_cause_is_raised_though_its_consequence_comes_first():
    with pytest.raises(ValueError, match=r"^the cause\nin worker process 0:"):
        run_processes(notice_first, [0, 1, 2], consequences=(LeftAloneError,))
    with pytest.raises(LeftAloneError):
        run_processes(notice_first, [0, 1])


def test_a_death_is_the_cause_of_its_consequence():
    with pytest.raises(ProcessError, match="worker process 0 ended with exit code -9"):
        run_processes(notice_a_death_first, [0, 1], consequences=(LeftAloneError,))


@pytest.mark.parametrize("parts", [[0, 1], [1, 2], [1, 1]])
def test_a_consequence_without_a_cause_is_raised_in_the_end(monkeypatch, parts):
    monkeypatch.setattr(processes, "CAUSE_SECONDS", 0.5)
    with pytest.raises(LeftAloneError, match="somebody is gone"):
        run_processes(notice_wrongly, parts, consequences=(LeftAloneError,))


BARE = """
print("the program runs")
from rllm_assets.compute.processes import run_processes
from tests.compute.test_processes import double
print(run_processes(double, [1, 2]), __file__ == sys.argv[0], __spec__)
"""
GUARDED = """
from rllm_assets.compute.processes import run_processes

def triple(part, send):
    return 3 * part

if __name__ == "__main__":
    print(run_processes(triple, [1, 2]))
"""


@pytest.mark.parametrize(("program", "output"), [(BARE, "the program runs\n[2, 4] True None\n"), (GUARDED, "[3, 6]\n")])
def test_a_program_is_run_once_where_its_own_functions_are_not_asked_for(tmp_path, program, output):
    script = tmp_path / "script.py"
    script.write_text("import sys\n" + program)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == (output, 0), done.stderr


def test_processes_die_with_a_killed_parent():
    program = (
        "import os, sys\n"
        "from tests.compute.test_processes import announce\n"
        "from rllm_assets.compute.processes import run_processes\n"
        "run_processes(announce, [0, 1], lambda pid: print(pid, flush=True))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in children):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def announce(part, send):
    send(os.getpid())
    time.sleep(600)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
