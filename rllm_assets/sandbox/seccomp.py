"""The system calls that a job may make, assembled into a seccomp filter without libseccomp.

The list says what is allowed; everything else is an error. A network, other namespaces, mounts, tracing, kernel keys, shared
memory that no process maps (memfd, System V, shared anonymous mappings: the memory watch would not see it) are not on it.
"""

import platform
import struct

from rllm_assets.sandbox.jobs import SandboxUnavailableError

# name, number on x86_64, number on aarch64 ("-" where that machine has no such call).
_ALLOWED = """
read 0 63, write 1 64, open 2 -, close 3 57, stat 4 -, fstat 5 80, lstat 6 -, poll 7 -, lseek 8 62, mprotect 10 226,
munmap 11 215, brk 12 214, rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, pread64 17 67,
pwrite64 18 68, readv 19 65, writev 20 66, access 21 -, pipe 22 -, select 23 -, sched_yield 24 124, mremap 25 216,
msync 26 227, mincore 27 232, madvise 28 233, dup 32 23, dup2 33 -, pause 34 -, nanosleep 35 101, getitimer 36 102,
alarm 37 -, setitimer 38 103, getpid 39 172, sendfile 40 71, sendto 44 206, recvfrom 45 207, recvmsg 47 212,
shutdown 48 210, getsockname 51 204, getpeername 52 205, getsockopt 55 209, fork 57 -, vfork 58 -, execve 59 221,
exit 60 93, wait4 61 260, kill 62 129, uname 63 160, fcntl 72 25, flock 73 32, fsync 74 82, fdatasync 75 83,
truncate 76 45, ftruncate 77 46, getdents 78 -, getcwd 79 17, chdir 80 49, fchdir 81 50, rename 82 -, mkdir 83 -,
rmdir 84 -, creat 85 -, link 86 -, unlink 87 -, symlink 88 -, readlink 89 -, chmod 90 -, fchmod 91 52, chown 92 -,
fchown 93 55, lchown 94 -, umask 95 166, gettimeofday 96 169, getrlimit 97 163, getrusage 98 165, sysinfo 99 179,
times 100 153, getuid 102 174, getgid 104 176, geteuid 107 175, getegid 108 177, setpgid 109 154, getppid 110 173,
getpgrp 111 -, setsid 112 157, getgroups 115 158, getresuid 118 148, getresgid 120 150, getpgid 121 155,
getsid 124 156, capset 126 91, rt_sigpending 127 136, rt_sigtimedwait 128 137, rt_sigsuspend 130 133,
sigaltstack 131 132, utime 132 -, statfs 137 43, fstatfs 138 44, getpriority 140 141, setpriority 141 140,
sched_getparam 143 121, sched_getscheduler 145 120, sched_get_priority_max 146 125, sched_get_priority_min 147 126,
arch_prctl 158 -, setrlimit 160 164, gettid 186 178, tkill 200 130, time 201 -, futex 202 98,
sched_getaffinity 204 123, epoll_create 213 -, getdents64 217 61, set_tid_address 218 96, restart_syscall 219 128,
fadvise64 221 223, timer_create 222 107, timer_settime 223 110, timer_gettime 224 108, timer_getoverrun 225 109,
timer_delete 226 111, clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115, exit_group 231 94,
epoll_wait 232 -, epoll_ctl 233 21, tgkill 234 131, utimes 235 -, waitid 247 95, openat 257 56, mkdirat 258 34,
fchownat 260 54, futimesat 261 -, newfstatat 262 79, unlinkat 263 35, renameat 264 38, linkat 265 37,
symlinkat 266 36, readlinkat 267 78, fchmodat 268 53, faccessat 269 48, pselect6 270 72, ppoll 271 73,
set_robust_list 273 99, get_robust_list 274 100, utimensat 280 88, epoll_pwait 281 22, signalfd 282 -,
timerfd_create 283 85, eventfd 284 -, fallocate 285 47, timerfd_settime 286 86, timerfd_gettime 287 87,
signalfd4 289 74, eventfd2 290 19, epoll_create1 291 20, dup3 292 24, pipe2 293 59, preadv 295 69, pwritev 296 70,
prlimit64 302 261, getcpu 309 168, renameat2 316 276, getrandom 318 278, execveat 322 281, membarrier 324 283,
copy_file_range 326 285, statx 332 291, rseq 334 293, pidfd_open 434 434, close_range 436 436, openat2 437 437,
faccessat2 439 439, epoll_pwait2 441 441, landlock_create_ruleset 444 444, landlock_add_rule 445 445,
landlock_restrict_self 446 446
"""

# unshare, setns, mount, umount2
_MAKING_NAMESPACES = ((272, 97), (308, 268), (165, 40), (166, 39))

# Calls that are allowed with some arguments only.
_CLONE, _CLONE3, _MMAP, _SOCKETPAIR, _IOCTL, _PRCTL = (56, 220), (435, 435), (9, 222), (53, 199), (16, 29), (157, 167)

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEW_NAMESPACES = 0x7E020000
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_AF_UNIX = 1
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what open() and subprocesses ask for; nothing that types
# into a terminal.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# Death signal, dumpable (read), name, seccomp, subreaper, no_new_privs, names of mappings (glibc).
_PRCTLS = (1, 2, 3, 15, 16, 21, 22, 36, 37, 38, 39, 0x53564D41)

# Newer calls are unknown to this list; ENOSYS makes the C library fall back to older ones.
_NEWEST_KNOWN = 446

_EPERM, _ENOTTY, _ENOSYS = 1, 25, 38
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000

_LOAD, _RETURN = 0x20, 0x06
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT = 0x15, 0x25, 0x35, 0x45

_NUMBER, _ARCHITECTURE = 0, 4


def program(machine: str | None = None) -> bytes:
    """Return the zygote's filter for `machine` (this one by default) as an array of `struct sock_filter`.

    Jobs inherit it. It also allows the calls that make namespaces, which `refusal` takes away from them.

    Raises:
        SandboxUnavailableError: for a machine other than x86_64 and aarch64.
    """
    machine = machine or platform.machine()
    column = _column(machine)
    deny = [_op(_RETURN, _ERROR | _EPERM)]
    lines = [
        _op(_LOAD, _ARCHITECTURE),
        _op(_JUMP_EQUAL, _AUDIT_ARCHITECTURE[machine], 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _NUMBER),
        *_for_call(
            _CLONE[column], [*_argument(0), _op(_JUMP_ANY_BIT, _NEW_NAMESPACES, 1, 0), _op(_RETURN, _ALLOW), *deny]
        ),
        *_for_call(_CLONE3[column], [_op(_RETURN, _ERROR | _ENOSYS)]),
        *_for_call(
            _MMAP[column],
            [
                *_argument(3),
                _op(_JUMP_ANY_BIT, _MAP_ANONYMOUS, 0, 2),
                _op(_JUMP_ANY_BIT, _MAP_SHARED, 0, 1),
                *deny,
                _op(_RETURN, _ALLOW),
            ],
        ),
        *_for_call(_SOCKETPAIR[column], _if_argument(0, (_AF_UNIX,), _EPERM)),
        *_for_call(_IOCTL[column], _if_argument(1, _IOCTLS, _ENOTTY)),
        *_for_call(_PRCTL[column], _if_argument(0, _PRCTLS, _EPERM)),
    ]
    # Calls above the list come last; x86_64's 32-bit numbering lies there too.
    for low, high in _ranges(sorted([*_numbers(column), *(numbers[column] for numbers in _MAKING_NAMESPACES)])):
        lines += [_op(_JUMP_GREATER, high, 3, 0), _op(_JUMP_GREATER_EQUAL, low, 0, 1), _op(_RETURN, _ALLOW), *deny]
    lines += [_op(_JUMP_GREATER, _NEWEST_KNOWN, 1, 0), *deny, _op(_RETURN, _ERROR | _ENOSYS)]
    return b"".join(lines)


def refusal(machine: str | None = None) -> bytes:
    """Return the small filter that each job adds: no namespaces and no mounts.

    Loading a filter takes the kernel time by its length, hence two.
    """
    column = _column(machine or platform.machine())
    lines = [_op(_LOAD, _NUMBER)]
    for numbers in _MAKING_NAMESPACES:
        lines += _for_call(numbers[column], [_op(_RETURN, _ERROR | _EPERM)])
    return b"".join([*lines, _op(_RETURN, _ALLOW)])


def _column(machine: str) -> int:
    if machine not in _AUDIT_ARCHITECTURE:
        known = ", ".join(_AUDIT_ARCHITECTURE)
        raise SandboxUnavailableError(f"no system call list for {machine}; known are {known}")
    return list(_AUDIT_ARCHITECTURE).index(machine)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _argument(index: int) -> list[bytes]:
    # The lower half of a 64-bit argument: the kernel looks at no more of those that are checked here.
    return [_op(_LOAD, 16 + 8 * index)]


def _for_call(number: int, block: list[bytes]) -> list[bytes]:
    return [_op(_JUMP_EQUAL, number, 0, len(block)), *block]


def _if_argument(index: int, values: tuple[int, ...], error: int) -> list[bytes]:
    tests = [_op(_JUMP_EQUAL, value, len(values) - position, 0) for position, value in enumerate(values)]
    return [*_argument(index), *tests, _op(_RETURN, _ERROR | error), _op(_RETURN, _ALLOW)]


def _numbers(column: int) -> list[int]:
    entries = (entry.split() for entry in _ALLOWED.replace("\n", " ").split(","))
    return sorted(int(entry[1 + column]) for entry in entries if entry[1 + column] != "-")


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
