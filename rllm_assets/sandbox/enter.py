"""Started as root: give up the real uid and replace this process by bubblewrap.

With bubblewrap alone, root outside stays the kernel's uid 0 inside, and `/proc/sys/kernel/core_pattern` opens for
writing. But a dropped uid cannot reach an interpreter below a closed home, so everything that shall be seen inside is
first bound to a place that anybody can reach, in a private mount namespace that ends with this process. Standard library
only, and of that little: it starts with every zygote.
"""
# ruff: noqa: PTH102

import os
import stat
import sys

from rllm_assets.sandbox import kernel

_STAGE = "/tmp"


def main(options: dict) -> None:
    """Run ``options["command"]``, in which ``@N@`` stands for the N-th path of ``options["binds"]``, as ``options["uid"]``."""
    try:
        _enter(options)
    except OSError as error:
        # What the parent shows to a person.
        print(f"cannot drop root: {error}", file=sys.stderr)
        sys.exit(1)


def _enter(options: dict) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # Taken before the stage hides what lies below it.
    sources = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in options["binds"]]
    kernel.mount("tmpfs", _STAGE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    stages = {}
    for number, source in enumerate(sources):
        stage = f"{_STAGE}/{number}"
        if stat.S_ISDIR(os.fstat(source).st_mode):
            os.mkdir(stage, 0o755)
        else:
            os.close(os.open(stage, os.O_CREAT | os.O_WRONLY, 0o644))
        kernel.mount(f"/proc/self/fd/{source}", stage, None, kernel.MS_BIND | kernel.MS_REC)
        stages[f"@{number}@"] = stage
    command = [stages.get(argument, argument) for argument in options["command"]]
    os.setgroups([])
    os.setresgid(options["uid"], options["uid"], options["uid"])
    os.setresuid(options["uid"], options["uid"], options["uid"])
    kernel.no_new_privileges()
    os.chdir("/")
    os.execve(command[0], command, {})
