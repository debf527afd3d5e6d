import os
import subprocess
import sys

import pytest

from rllm_assets.tracking.processes import ProcessIdentity, ancestor, current_process, has_gone


@pytest.fixture
def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_this_process_has_not_gone():
    assert not has_gone(current_process())


def test_a_process_that_ended_has_gone(ended_pid):
    assert has_gone(current_process().model_copy(update={"pid": ended_pid}))


def test_a_process_that_ended_has_gone_where_start_times_are_not_known(ended_pid):
    here = current_process().model_copy(update={"started": ""})
    assert has_gone(here.model_copy(update={"pid": ended_pid}))
    assert not has_gone(here)


def test_a_later_process_with_the_same_id_is_another_one():
    assert has_gone(current_process().model_copy(update={"started": "1"}))


def test_a_zombie_has_gone():
    code = (
        "import sys; from rllm_assets.tracking.processes import current_process;"
        "print(current_process().model_dump_json(), flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    identity = ProcessIdentity.model_validate_json(child.stdout.readline())
    assert not has_gone(identity)
    child.kill()
    # Waits for its end without asking for its exit code, so it stays a zombie.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert has_gone(identity)
    finally:
        child.communicate()


def test_before_the_machine_started_anew_everything_has_gone():
    assert has_gone(current_process().model_copy(update={"boot": "an earlier boot"}))


@pytest.mark.parametrize("field", ["host", "namespace"])
def test_what_cannot_be_seen_from_here_has_not_gone(field, ended_pid):
    assert not has_gone(current_process().model_copy(update={"pid": ended_pid, field: "elsewhere"}))


def test_ancestors_are_known_by_their_ids(ended_pid):
    assert ancestor(os.getpid()) == current_process()
    above = ancestor(os.getppid())
    assert above is not None
    assert above.pid == os.getppid()
    assert not has_gone(above)
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    assert ancestor(child.pid) is None
    child.communicate(b"")
    assert ancestor(ended_pid) is None
