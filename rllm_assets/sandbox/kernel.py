"""The Linux calls that Python does not offer: namespaces, mounts, capabilities, seccomp and Landlock.

Loaded on both sides of the border and before any package is importable, so it uses nothing but the standard library.
"""
# ruff: noqa: PTH112

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_CAPABILITY_VERSION_3 = 0x20080522

# Numbers of the Landlock calls are the same on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_READ = 0b1101  # execute, read file, read directory
# Files, directories, sockets, fifos and symlinks may be made and removed; devices may not.
_LANDLOCK_WRITE = _LANDLOCK_READ | 0b10 | 0b1_0111_1011_0000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """Move this process, or its next children for a pid namespace, into new namespaces."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def set_namespace(descriptor: int, flags: int) -> None:
    """Move back into the namespaces of a process that `descriptor` (a pidfd) stands for."""
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(flags)), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Call mount(2)."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), options.encode()
    )
    _check(result, f"mount {target}")


def unmount(target: str) -> None:
    """Detach what is mounted at `target`, used or not."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def no_new_privileges() -> None:
    """Let no program that is started from now on gain privileges; seccomp asks for it."""
    _check(
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)),
        "prctl",
    )


def adopt_orphans() -> None:
    """Make descendants whose parents die children of this process."""
    _check(
        _libc.prctl(
            _PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)
        ),
        "prctl",
    )


def drop_capabilities() -> None:
    """Give up every capability in the current user namespace."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


class Filter(ctypes.Structure):
    """A seccomp filter as the kernel takes it, made once of what `rllm_assets.sandbox.seccomp` assembles."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    def __init__(self, instructions: bytes) -> None:
        super().__init__(len(instructions) // 8, instructions)


def filter_system_calls(program: Filter) -> None:
    """Install a seccomp filter for good."""
    no_new_privileges()
    result = _libc.prctl(
        _PR_SET_SECCOMP,
        ctypes.c_ulong(_SECCOMP_MODE_FILTER),
        ctypes.byref(program),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
    _check(result, "seccomp")


def landlock_version() -> int:
    """Return the version of Landlock that the kernel offers, 0 for none."""
    return max(0, _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def restrict_files(readable: list[str], writable: list[str]) -> None:
    """Confine this process to some trees by Landlock; newer kernels also cut TCP and signals to the outside.

    Raises:
        OSError: where the kernel has no Landlock.
    """
    version = landlock_version()
    handled = (1 << (13 + min(max(version - 1, 0), 2) + (version >= 5))) - 1
    # One field more with each of these versions: files, network (4), signals and abstract sockets (6).
    attributes = struct.pack("=QQQ", handled, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _check(
        _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint(0)), "landlock"
    )
    for paths, access in ((readable, _LANDLOCK_READ), (writable, _LANDLOCK_WRITE | (1 << 14 if version >= 3 else 0))):
        for path in paths:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            # Rights about directories cannot be given on a file.
            allowed = access if os.path.isdir(path) else access & 0b100_0000_0000_0111
            rule = struct.pack("=Qi", allowed, descriptor)
            _check(
                _libc.syscall(_LANDLOCK_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0)),
                "landlock rule",
            )
            os.close(descriptor)
    no_new_privileges()
    _check(_libc.syscall(_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)), "landlock restrict")
    os.close(ruleset)
