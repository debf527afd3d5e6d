"""Inside the sandbox: try to break out, and report what worked.

These are the probes that grade a sandbox when it starts. Each is harmless where it succeeds: it looks, or touches only what the
caller made for it. Standard library only.
"""
# ruff: noqa: PTH108, PTH118, PTH123

import ctypes
import json
import os
import socket
import time
from collections.abc import Callable

_CLONE_NEWUSER = 0x10000000
_MS_RDONLY_REMOUNT = 32 | 4096
_PTRACE_TRACEME = 0


def main(payload: int, result: int) -> None:
    """Make the attack that the payload names; write what came of it as JSON."""
    with open(payload, "rb") as file:
        order = json.loads(file.read())
    os.write(result, json.dumps(_ORDERS[order["attack"]](order)).encode())


def break_out(order: dict) -> list[str]:
    """Try to reach the host in many ways; return the names of those that worked.

    `order` names a secret file and a writable directory that exist on the host for this purpose, the host's libraries, and the
    pid of the process that owns the sandbox.
    """
    return [name for name, attempt in _ATTEMPTS.items() if _works(attempt, order)]


def multiply(order: dict) -> int:
    """Fork idle children until that fails, at most `order["most"]`; leave them running and return their number."""
    for number in range(order["most"]):
        try:
            child = os.fork()
        except OSError:
            return number
        if child == 0:
            os.setsid()
            time.sleep(60)
            os._exit(0)
    return order["most"]


def swell(order: dict) -> str:
    """Take memory in several processes, each within the limit of one, and keep it until killed."""
    for _ in range(order["processes"]):
        if os.fork() == 0:
            break
    block = bytearray(b"x" * (order["mb"] << 20))
    time.sleep(60)
    return f"kept {len(block)} bytes"


def spin(order: dict) -> None:
    """Run until killed."""
    while order:
        pass


def _works(attempt: Callable[[dict], object], order: dict) -> bool:
    try:
        return bool(attempt(order))
    except OSError:
        return False


def _reads(path: str) -> bool:
    with open(path, "rb") as file:
        return bool(file.read(1))


def _writes(directory: str) -> bool:
    path = os.path.join(directory, f"rllm-probe-{os.getpid()}")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    os.unlink(path)
    return True


def _connects(kind: int) -> bool:
    socket.socket(socket.AF_INET, kind).close()
    return True


def _calls(name: str, *arguments: int | bytes | None) -> bool:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    return function(*arguments) == 0


_ATTEMPTS: dict[str, Callable[[dict], object]] = {
    "read a host file": lambda order: _reads(order["secret"]),
    "read the system's users": lambda order: _reads("/etc/passwd"),
    "write to the host": lambda order: _writes(order["directory"]),
    "write to the interpreter": lambda order: any(
        _works(lambda _, path=path: _writes(path), order) for path in order["libraries"]
    ),
    "write to the root": lambda order: _writes("/"),
    "see an environment": lambda order: bool(os.environ) or _reads("/proc/1/environ") or _reads("/proc/self/environ"),
    "set the kernel's core pattern": lambda order: (
        os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)) is None
    ),
    "open a TCP socket": lambda order: _connects(socket.SOCK_STREAM),
    "open a UDP socket": lambda order: _connects(socket.SOCK_DGRAM),
    # In a pid namespace, the job itself may have the owner's number.
    "signal the owner": lambda order: order["owner"] != os.getpid() and os.kill(order["owner"], 0) is None,
    "nest a user namespace": lambda order: _calls("unshare", _CLONE_NEWUSER),
    "mount": lambda order: _calls("mount", None, b"/", None, _MS_RDONLY_REMOUNT, None),
    "trace": lambda order: _calls("ptrace", _PTRACE_TRACEME, 0, 0, 0),
    "hide memory in a file": lambda order: os.close(os.memfd_create("hidden")) is None,
}

_ORDERS: dict[str, Callable[[dict], object]] = {
    "break out": break_out,
    "multiply": multiply,
    "swell": swell,
    "spin": spin,
}
