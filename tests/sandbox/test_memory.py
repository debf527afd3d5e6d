import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rllm_assets.sandbox.memory import descendants, resident_bytes

MB = 1 << 20


@pytest.fixture
def family() -> Iterator[subprocess.Popen]:
    """A process with a child that has a child that holds 50 MB; each says when it is there, and ends with its input."""
    code = (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "  if os.fork() == 0:\n"
        f"    block = b'x' * {50 * MB}\n"
        "  print(os.getpid(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.communicate()


def test_descendants_are_found_at_every_depth(family: subprocess.Popen) -> None:
    assert family.stdout is not None
    told = {int(family.stdout.readline()) for _ in range(2)}
    assert set(descendants(family.pid)) == told
    biggest = max(resident_bytes(pid) for pid in told)
    assert 50 * MB < biggest < 90 * MB


def test_a_process_that_is_gone_has_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    assert descendants(gone.pid) == []
    assert resident_bytes(gone.pid) == 0


def test_of_itself() -> None:
    assert resident_bytes(os.getpid()) > MB
