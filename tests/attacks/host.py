"""Code that reaches for the host: each raises OSError or ValueError where the kernel refuses."""


def _call(name: str) -> str:
    return (
        "import ctypes, os\n"
        f"if ctypes.CDLL(None, use_errno=True).{name} != 0: raise OSError(os.strerror(ctypes.get_errno()))"
    )


ATTACKS = {
    "opens a TCP socket": "import socket; socket.socket()",
    "opens a UDP socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "opens a UNIX socket": "import socket; socket.socket(socket.AF_UNIX)",
    "connects to the host": "import socket; socket.create_connection(('127.0.0.1', 80))",
    "signals another process": "import os; os.kill(2, 9)",
    "becomes root": "import os; os.setuid(0)",
    "makes a device": "import os; os.mknod('/tmp/device', 0o20666, os.makedev(1, 3))",
    "changes its root": "import os; os.chroot('/tmp')",
    "takes real-time priority": "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "lifts its memory limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))"
    ),
    "lifts its process limit": "import resource; resource.prlimit(0, resource.RLIMIT_NPROC, (10**6, 10**6))",
    "nests a user namespace": _call("unshare(0x10000000)"),
    "nests a mount namespace": _call("unshare(0x20000)"),
    "joins a namespace": _call("setns(0, 0)"),
    "remounts the root": _call("mount(None, b'/', None, 4128, None)"),
    "unmounts its directory": _call("umount2(b'/tmp', 2)"),
    "asks to be traced": _call("ptrace(0, 0, 0, 0)"),
    "traces another process": _call("ptrace(16, 1, 0, 0)"),
    "renames the machine": _call("sethostname(b'x', 1)"),
    "switches off address randomisation": _call("personality(0x40000)"),
    "opens an io_uring": _call("syscall(425, 1, 0)"),
    "loads a BPF program": _call("syscall(321, 0, 0, 0)"),
    "reads the kernel's keys": _call("syscall(250, 0, 0, 0)"),
    "handles page faults itself": _call("syscall(323, 0)"),
    "takes another's descriptor": _call("syscall(438, 0, 0, 0)"),
    "writes to the interpreter": "import os; open(os.path.dirname(os.__file__) + '/probe', 'w')",
    "writes to the root": "open('/probe', 'w')",
    "reads the system's users": "open('/etc/passwd').read()",
    "reads another's environment": "open('/proc/1/environ', 'rb').read()",
    "sets the kernel's core pattern": "open('/proc/sys/kernel/core_pattern', 'w')",
    "writes its own memory by /proc": "open('/proc/self/mem', 'r+b')",
    "reads another's memory": _call("syscall(310, 1, 0, 0, 0, 0, 0)"),
    "hides memory in a file": "import os; os.memfd_create('hidden')",
    "hides memory between processes": "import mmap; mmap.mmap(-1, 4096)",
    "leaves System V memory": _call("syscall(29, 1, 4096, 0o1600)"),
    "leaves a message queue": _call("syscall(240, b'x', 66, 384, None)"),
    "leaves POSIX shared memory": "open('/dev/shm/x', 'w')",
    "makes namespaces by the raw call": _call("syscall(56, 0x10000011, 0, 0, 0, 0)"),
    "makes namespaces by clone3": _call("syscall(435, (ctypes.c_uint64 * 8)(0x10000000, 0, 0, 0, 17), 64)"),
    "mounts by the new calls": _call("syscall(430, b'tmpfs', 0)"),
    "takes a copy of a tree": _call("syscall(428, -100, b'/', 1)"),
    "opens files by their number": _call("syscall(304, -100, None, 0)"),
    "changes its root by pivoting": _call("syscall(155, b'/tmp', b'/tmp')"),
    "watches the machine's counters": _call("syscall(298, None, 0, -1, -1, 0)"),
    "watches files": _call("syscall(253)"),
    "changes its segments": _call("syscall(154, 1, None, 0)"),
    "asks for the hardware's ports": _call("syscall(172, 3)"),
    "moves pages between pipes": _call("syscall(278, 1, None, 0, 0)"),
    "calls by the 32-bit numbers": _call("syscall(0x40000000 + 41, 2, 1, 0)"),
    "loads a kernel module": _call("syscall(175, None, 0, b'')"),
    "sets the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0)",
    "reads the kernel's log": _call("klogctl(3, None, 0)"),
    "types into a terminal": "import fcntl; fcntl.ioctl(1, 0x5412, b'x')",
    "becomes the group of root": "import os; os.setgroups([0])",
    "takes a capability back": _call("capset(b'\\x22\\x05\\x08\\x20' + bytes(4), b'\\xff' * 24)"),
}
