"""What a job cannot see, write or ask of the kernel."""

import sys
from pathlib import Path

import pytest

from rllm_assets.sandbox.pool import Pool
from tests.attacks import resources
from tests.attacks.host import ATTACKS
from tests.sandbox.conftest import Run


def test_a_job_sees_nothing_of_the_host(run: Run, open_directory: Path) -> None:
    secret = open_directory / "secret"
    secret.write_text("secret")
    code = f"""
import os
def tries(act):
    try:
        return act()
    except OSError as error:
        return type(error).__name__
tell([
    dict(os.environ), os.getpid(), os.getppid(), os.getuid(),
    tries(lambda: open({str(secret)!r}).read()),
    tries(lambda: open('/etc/passwd').read()),
    tries(lambda: os.listdir('/proc')),
    tries(lambda: os.listdir('/home')),
    sorted(os.listdir('/dev')), os.listdir('/tmp'), os.uname().nodename,
])
"""
    assert eval(run(code).result) == [
        {}, 1, 0, 65534, *["FileNotFoundError"] * 4, ["full", "null", "random", "urandom"], [], "sandbox",
    ]  # fmt: skip


def test_a_job_holds_its_own_descriptors_only(run: Run) -> None:
    look = "for n in range(64):\n  try: os.fstat(n); found.append(n)\n  except OSError: pass"
    code = f"import os\nfound = []\n{look}\ntell(found)"
    # Input, output, errors, and the result; the payload has been closed.
    assert run(code).result == b"[0, 1, 2, 3]"


def test_nothing_is_writable_but_the_directory(run: Run) -> None:
    code = f"""
import os
found = []
for root in ['/', '/dev', '/usr/lib', {sys.base_prefix + "/lib"!r}, os.path.dirname(os.__file__), '/tmp']:
    try:
        open(root + '/probe', 'w').close(); found.append(root)
    except OSError: pass
tell(found)
"""
    assert run(code).result == b"['/tmp']"


@pytest.mark.parametrize("name", ATTACKS)
def test_the_kernel_refuses(run: Run, name: str) -> None:
    outcome = run(f"try:\n  exec({ATTACKS[name]!r})\nexcept (OSError, ValueError): tell('refused')\nelse: tell('done')")
    assert outcome.result == b"'refused'"


@pytest.mark.parametrize("name", resources.ATTACKS)
def test_greed_is_ended_and_leaves_nothing(run: Run, pool: Pool, name: str) -> None:
    greed = resources.ATTACKS[name]
    assert run(greed.code, seconds=greed.seconds).ended in greed.endings
    assert pool.survivors() == []
    assert run("import os; tell(os.listdir('/tmp'))").result == b"[]"
