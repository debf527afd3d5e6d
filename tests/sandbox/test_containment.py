"""What a job cannot see, write or ask of the kernel."""

import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    "attack",
    [
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.create_connection(('127.0.0.1', 80))",
        "import os; os.kill(2, 9)",
        "import os; os.setuid(0)",
        "import os; os.mknod('/tmp/device', 0o20666, os.makedev(1, 3))",
        "import os; os.chroot('/tmp')",
        "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))",
        "import resource; resource.prlimit(0, resource.RLIMIT_NPROC, (10**6, 10**6))",
        *(
            f"import ctypes\nif ctypes.CDLL(None).{call} != 0: raise OSError"
            for call in (
                "unshare(0x10000000)", "unshare(0x20000)", "setns(0, 0)", "mount(None, b'/', None, 4128, None)",
                "umount2(b'/tmp', 2)", "ptrace(0, 0, 0, 0)", "ptrace(16, 1, 0, 0)", "sethostname(b'x', 1)",
                "personality(0x40000)", "syscall(425, 1, 0)", "syscall(321, 0, 0, 0)", "syscall(250, 0, 0, 0)",
                "syscall(323, 0)", "syscall(438, 0, 0, 0)",
            )
        ),
    ],
)  # fmt: skip
def test_the_kernel_refuses(run: Run, attack: str) -> None:
    outcome = run(f"try:\n  exec({attack!r})\nexcept (OSError, ValueError): tell('refused')\nelse: tell('done')")
    assert outcome.result == b"'refused'"
