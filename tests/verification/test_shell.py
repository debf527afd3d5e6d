"""Commands of agents: what they do to a tree, what they print, and what they cannot do."""

import contextlib
import json

import pytest

from rllm_assets.sandbox.jobs import Outcome, SandboxError
from rllm_assets.verification.shell import Command, what_ran
from tests.verification.repository import issue

TREE = {"calc/money.py": "def half(x):\n    return x // 2\n", "tests/test_money.py": "def test(): pass\n"}


def run(verifier, command, seconds=20.0, tree=None):
    (ran,) = verifier.run_commands([Command(issue(), TREE if tree is None else tree, command)], seconds)
    assert not ran.failure
    return ran


def test_a_command_sees_the_tree_and_leaves_it_alone(verifier):
    ran = run(verifier, "ls; grep -rn half .; exit 3")
    assert (ran.output, ran.code, ran.changes) == ("calc\ntests\n./calc/money.py:1:def half(x):\n", 3, {})


def test_changes_come_back(verifier):
    ran = run(verifier, "echo 'x = 1' > new.py; rm tests/test_money.py; printf 'y\\r\\n' >> calc/money.py")
    assert ran.changes == {
        "new.py": "x = 1\n",
        "tests/test_money.py": None,
        "calc/money.py": TREE["calc/money.py"] + "y\r\n",
    }


def test_what_is_no_text_is_named_and_not_kept(verifier):
    ran = run(verifier, "printf '\\377' > a.bin; ln -s /etc/hosts link; mkdir -p __pycache__; touch __pycache__/x.pyc")
    assert ran.changes == {}
    assert "not kept, for they are no text or too large: a.bin, link" in ran.output


def test_python_and_pytest_run(verifier):
    ran = run(
        verifier, "python -m pytest -q -p no:cacheprovider tests && python -c 'import sys; print(sys.version_info[:2])'"
    )
    assert "1 passed" in ran.output
    assert ran.code == 0


def test_each_command_begins_anew(verifier):
    assert run(verifier, "touch /tmp/left; touch here.py").changes == {"here.py": ""}
    assert run(verifier, "ls /tmp").output == "bin\noutput\nrepo\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat /etc/passwd", "No such file"),
        ("echo x > /usr/bin/x", "Read-only file system"),
        ("python -c \"import socket; socket.create_connection(('127.0.0.1', 80))\"", "Operation not permitted"),
        ("cat /proc/1/environ", "No such file"),
        ("env | grep -i token; true", ""),
    ],
)
def test_the_host_is_out_of_reach(verifier, command, said):
    ran = run(verifier, command)
    assert said in ran.output
    assert ran.changes == {}


def test_a_command_that_does_not_end_keeps_what_it_did(verifier):
    ran = run(verifier, "echo 'x = 1' > new.py; echo before; sleep 60", seconds=1.0)
    assert (ran.code, ran.changes) == (None, {"new.py": "x = 1\n"})
    assert ran.output == "before\n\n[out of time]"


def test_a_flood_is_cut_in_the_middle(verifier):
    ran = run(verifier, "yes | head -c 300000; echo end")
    assert "[234468 bytes left out]" in ran.output
    assert ran.output.endswith("y\nend\n")


def outcome(**changes):
    return Outcome(**({"ended": "exited", "code": 0, "result": b"", "output": b"", "seconds": 0.1} | changes))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (outcome(), "the command ended its sandbox"),
        (outcome(result=b"[1]"), "the command ended its sandbox"),
        (outcome(ended="timeout"), "[out of time; the files are as they were before]"),
        (outcome(ended="out_of_memory"), "[out of memory; the files are as they were before]"),
        (outcome(ended="flooded"), "[it left more than can be read back; the files are as they were before]"),
    ],
)
def test_what_cannot_be_read_back_changes_nothing(made, said):
    ran = what_ran(made)
    assert said in ran.output
    assert (ran.changes, ran.code) == ({}, None)


def test_paths_that_lead_outside_are_left_out():
    paths = {"../x.py": "", "/etc/x": "", ".git/config": "", "a.py": "1"}
    forged = json.dumps({"code": 0, "output": "", "unreadable": [], "changed": paths})
    assert what_ran(outcome(result=forged.encode())).changes == {"a.py": "1"}


def test_a_sandbox_that_fails_is_no_fault_of_the_command(verifier, monkeypatch):
    class Broken:
        def run(self, _job):
            raise SandboxError("it is broken")

    monkeypatch.setattr(verifier, "_sandbox_for", lambda *_: contextlib.nullcontext(Broken()))
    (ran,) = verifier.run_commands([Command(issue(), TREE, "ls")], 1.0)
    assert (ran.failure, ran.changes) == ("it is broken", {})


def test_what_was_there_and_is_no_text_stays_as_it_is(verifier):
    tree = {**TREE, "logo.png": "\udc89PNG\udcff", "large.txt": "x" * (2 << 20)}
    ran = run(verifier, "wc -c logo.png large.txt", tree=tree)
    assert ran.output.split()[:4] == ["5", "logo.png", str(2 << 20), "large.txt"]
    assert ran.changes == {}
    assert "not kept" not in ran.output
    ran = run(verifier, "printf '\\377' >> logo.png; echo y >> large.txt", tree=tree)
    assert (ran.changes, ran.output) == (
        {},
        "\n[not kept, for they are no text or too large: large.txt, logo.png]",
    )
