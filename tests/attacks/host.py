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
}
