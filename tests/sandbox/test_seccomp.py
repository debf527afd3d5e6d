"""The filter is judged by running it: a small interpreter of the kernel's packet filter language, for both machines."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.sandbox import SandboxUnavailableError, seccomp

ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# From the kernel's tables.
CALLS = {
    "x86_64": {
        "read": 0, "write": 1, "openat": 257, "execve": 59, "fork": 57, "clone": 56, "clone3": 435, "mmap": 9, "ioctl": 16,
        "prctl": 157, "socket": 41, "socketpair": 53, "connect": 42, "bind": 49, "unshare": 272, "setns": 308, "mount": 165,
        "umount2": 166, "ptrace": 101, "bpf": 321, "io_uring_setup": 425, "keyctl": 250, "userfaultfd": 323,
        "pidfd_getfd": 438, "process_vm_readv": 310, "memfd_create": 319, "shmget": 29, "msgget": 68, "perf_event_open": 298,
        "chroot": 161, "pivot_root": 155, "sethostname": 170, "open_by_handle_at": 304, "sync": 162, "mq_open": 240,
        "fsopen": 430, "move_mount": 429, "setuid": 105, "sendmsg": 46, "exit_group": 231, "futex": 202,
    },
    "aarch64": {
        "read": 63, "write": 64, "openat": 56, "execve": 221, "clone": 220, "clone3": 435, "mmap": 222, "ioctl": 29,
        "prctl": 167, "socket": 198, "socketpair": 199, "connect": 203, "bind": 200, "unshare": 97, "setns": 268, "mount": 40,
        "umount2": 39, "ptrace": 117, "bpf": 280, "io_uring_setup": 425, "keyctl": 219, "userfaultfd": 282,
        "pidfd_getfd": 438, "process_vm_readv": 270, "memfd_create": 279, "shmget": 194, "msgget": 186, "perf_event_open": 241,
        "chroot": 51, "pivot_root": 41, "sethostname": 161, "open_by_handle_at": 265, "sync": 81, "mq_open": 180,
        "fsopen": 430, "move_mount": 429, "setuid": 146, "sendmsg": 211, "exit_group": 94, "futex": 98,
    },
}  # fmt: skip


def decide(program: bytes, machine: str, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Run a filter as the kernel would and return its decision."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, ARCHITECTURE[machine], 0, *padded)
    at, value = 0, 0
    while True:
        code, if_true, if_false, k = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, k)
            case 0x06:
                return k
            case 0x15 | 0x25 | 0x35 | 0x45:
                holds = {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: bool(value & k)}[code]
                at += if_true if holds else if_false
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def decide_job(machine: str, name: str, *arguments: int) -> int:
    """What the kernel does with a job's call: the stricter of the two filters."""
    number = CALLS[machine][name]
    decisions = [decide(part(machine), machine, number, arguments) for part in (seccomp.program, seccomp.refusal)]
    return next((decision for decision in decisions if decision != ALLOW), ALLOW)


machines = pytest.mark.parametrize("machine", list(ARCHITECTURE))


@machines
@pytest.mark.parametrize("name", ["read", "write", "openat", "execve", "exit_group", "futex"])
def test_ordinary_calls_are_allowed(machine: str, name: str) -> None:
    assert decide_job(machine, name) == ALLOW


@machines
@pytest.mark.parametrize(
    "name",
    [
        "socket", "connect", "bind", "unshare", "setns", "mount", "umount2", "ptrace", "bpf", "io_uring_setup", "keyctl",
        "userfaultfd", "pidfd_getfd", "process_vm_readv", "memfd_create", "shmget", "msgget", "perf_event_open", "chroot",
        "pivot_root", "sethostname", "open_by_handle_at", "sync", "mq_open", "fsopen", "move_mount", "setuid", "sendmsg",
    ],
)  # fmt: skip
def test_dangerous_calls_fail_with_eperm(machine: str, name: str) -> None:
    assert decide_job(machine, name) == ERROR | errno.EPERM


@machines
@pytest.mark.parametrize("name", ["unshare", "setns", "mount", "umount2"])
def test_only_the_zygote_makes_namespaces(machine: str, name: str) -> None:
    assert decide(seccomp.program(machine), machine, CALLS[machine][name]) == ALLOW


@machines
def test_clone_makes_processes_and_threads_but_no_namespaces(machine: str) -> None:
    sigchld, thread, new_user, new_pid = 17, 0x003D0F00, 0x10000000, 0x20000000
    assert decide_job(machine, "clone", sigchld) == ALLOW
    assert decide_job(machine, "clone", thread) == ALLOW
    assert decide_job(machine, "clone", sigchld | new_user) == ERROR | errno.EPERM
    assert decide_job(machine, "clone", sigchld | new_pid) == ERROR | errno.EPERM
    # Its flags lie in memory where no filter sees them: the C library falls back to clone.
    assert decide_job(machine, "clone3") == ERROR | errno.ENOSYS


@machines
def test_memory_is_either_private_or_a_files(machine: str) -> None:
    shared, private, anonymous = 1, 2, 0x20
    assert decide_job(machine, "mmap", 0, 4096, 3, private | anonymous) == ALLOW
    assert decide_job(machine, "mmap", 0, 4096, 3, shared) == ALLOW
    assert decide_job(machine, "mmap", 0, 4096, 3, shared | anonymous) == ERROR | errno.EPERM


@machines
def test_arguments_decide(machine: str) -> None:
    assert decide_job(machine, "socketpair", 1) == ALLOW
    assert decide_job(machine, "socketpair", 2) == ERROR | errno.EPERM
    assert decide_job(machine, "ioctl", 1, 0x5401) == ALLOW
    assert decide_job(machine, "ioctl", 0, 0x5412) == ERROR | errno.ENOTTY
    assert decide_job(machine, "prctl", 15) == ALLOW
    assert decide_job(machine, "prctl", 4) == ERROR | errno.EPERM


def test_another_architectures_calls_kill() -> None:
    program = seccomp.program("x86_64")
    assert decide(program, "aarch64", CALLS["aarch64"]["read"]) == KILL
    x32 = 0x40000000
    assert decide(program, "x86_64", x32 | CALLS["x86_64"]["read"]) == ERROR | errno.ENOSYS


@given(st.integers(447, 2**32 - 1))
def test_calls_newer_than_the_list_do_not_exist(number: int) -> None:
    assert decide(seccomp.program("x86_64"), "x86_64", number) == ERROR | errno.ENOSYS


@given(st.integers(0, 446))
def test_every_known_number_gets_a_decision(number: int) -> None:
    for machine in ARCHITECTURE:
        assert decide(seccomp.program(machine), machine, number) in (
            ALLOW, ERROR | errno.EPERM, ERROR | errno.ENOSYS, ERROR | errno.ENOTTY,
        )  # fmt: skip


def test_an_unknown_machine_is_refused_by_name() -> None:
    with pytest.raises(SandboxUnavailableError, match="riscv64; known are x86_64, aarch64"):
        seccomp.program("riscv64")
