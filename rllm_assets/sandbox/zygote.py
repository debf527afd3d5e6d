"""The process inside the sandbox that forks one child a job, each in fresh namespaces.

It never sees what is in a job: payload and results pass it by in descriptors that only the child reads, so that nothing of
one job can be found in the memory of the next. Standard library only, and of that little: every page that a fork touches
is copied.
"""
# ruff: noqa: PTH101, PTH106, PTH108, PTH114, PTH116, PTH208

import _socket
import contextlib
import fcntl
import gc
import importlib
import json
import os
import random
import resource
import select
import signal
import struct
import sys
from types import ModuleType

from rllm_assets.sandbox import kernel

# In a job, its empty input.
_CONTROL = 0
_OUTPUT, _ERRORS, _RESULT, _PAYLOAD, _FIRST_FREE = 1, 2, 3, 4, 5
_DIRECTORY = "/tmp"
_SET_UP_FAILED = 97


def main(options: dict) -> None:
    """Serve jobs from the control socket until it closes."""
    os.closerange(_RESULT, 1024)
    sys.path += options["sites"]
    for name in options["preload"]:
        importlib.import_module(name)
    for name in options["prepare"]:
        sys.modules[name].prepare()
    # The hash seed had to come by environment; nothing else may be there.
    os.environ.clear()
    control = _socket.socket(fileno=_CONTROL)
    namespaces = options["isolation"] == "namespaces"
    itself, untouched = -1, None
    if namespaces:
        itself = os.pidfd_open(os.getpid())
        untouched = _fresh_directory(options["directory"])
    elif options["isolation"] == "none":
        kernel.adopt_orphans()
    if options["seccomp"]:
        kernel.filter_system_calls(kernel.Filter(bytes.fromhex(options["seccomp"])))
    # Whatever is made before the fork need not be made in every job.
    options["refusal"] = kernel.Filter(bytes.fromhex(options["refusal"])) if options["refusal"] else None
    requests: dict[bytes, dict] = {}
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    while True:
        message, descriptors = _received(control)
        if not message:
            os._exit(0)
        if not descriptors:
            # "stop" that crossed with the job's end.
            continue
        request = requests.get(message) or requests.setdefault(message, json.loads(message))
        if namespaces:
            kernel.set_namespace(itself, kernel.CLONE_NEWPID)
            kernel.unshare(kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC)
        if options["isolation"] == "helper":
            status = _run_by_helper(request, descriptors, control, options)
        else:
            child = os.fork()
            if child == 0:
                _become_job(request, descriptors, options)
            status = _wait(child, control, namespaces)
        if not namespaces:
            _empty(request["directory"])
        elif _state() != untouched:
            kernel.unmount(_DIRECTORY)
            untouched = _fresh_directory(options["directory"])
        control.send(str(status).encode())
        # Last, so that the parent hears of the end once, not of every pipe's end too.
        for descriptor in descriptors:
            os.close(descriptor)


def _received(control: _socket.socket) -> tuple[bytes, list[int]]:
    message, ancillary, *_ = control.recvmsg(65536, 256)
    return message, [fd for _, _, data in ancillary for fd in struct.unpack(f"{len(data) // 4}i", data)]


def _fresh_directory(options: str) -> tuple | None:
    """Mount an empty directory for the next jobs; return its state, by which is seen whether one of them touched it."""
    kernel.mount("tmpfs", _DIRECTORY, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    return _state()


def _state() -> tuple | None:
    try:
        # The times alone would do, if the kernel's clock for them were finer.
        found = os.stat(_DIRECTORY)
        return (found.st_mode, found.st_ctime_ns, found.st_nlink, os.listdir(_DIRECTORY))
    except PermissionError:
        return None


def _empty(directory: str) -> None:
    """Remove what a job left in a directory that the next one gets too."""
    for path, folders, files in os.walk(directory):
        for name in folders:
            with contextlib.suppress(OSError):
                os.chmod(f"{path}/{name}", 0o700)
        for name in files:
            with contextlib.suppress(OSError):
                os.unlink(f"{path}/{name}")
    for path, folders, _ in os.walk(directory, topdown=False):
        for name in folders:
            with contextlib.suppress(OSError):
                os.unlink(f"{path}/{name}") if os.path.islink(f"{path}/{name}") else os.rmdir(f"{path}/{name}")


def _run_by_helper(request: dict, descriptors: list[int], control: _socket.socket, options: dict) -> int:
    """Run a job in namespaces that another process makes: gVisor has no way back into those that one has left."""
    heard, tell = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(heard)
        try:
            kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWNET)
            job = os.fork()
        except OSError as error:
            os.write(descriptors[2], b"!" + repr(error).encode())
            os._exit(_SET_UP_FAILED)
        if job == 0:
            os.close(tell)
            _become_job(request, descriptors, options)
        os.write(tell, b"%d\n" % job)
        os.write(tell, b"%d\n" % os.waitpid(job, 0)[1])
        os._exit(0)
    os.close(tell)
    said, stopped, gone = b"", False, False
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(heard, select.POLLIN)
    while not gone:
        for descriptor, _ in poll.poll():
            if descriptor == heard:
                part = os.read(heard, 64)
                said, gone = said + part, not part
            else:
                # Without a message, the parent is gone.
                stopped = True
                if not control.recv(64):
                    poll.unregister(control)
        if stopped and said.endswith(b"\n") and said.count(b"\n") == 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(said), signal.SIGKILL)
    os.close(heard)
    os.waitpid(helper, 0)
    _, _, status = said.strip().partition(b"\n")
    return int(status) if status else signal.SIGKILL


def _wait(child: int, control: _socket.socket, namespaces: bool) -> int:
    """Wait until the job and all its processes are gone; a message meanwhile means that it shall be killed."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if ended in ready:
            break
        message = control.recv(64)
        _kill(child, namespaces)
        if not message:
            # The parent is gone.
            os._exit(0)
    os.close(ended)
    _, status = os.waitpid(child, 0)
    if not namespaces:
        _kill_orphans()
    return status


def _kill(child: int, namespaces: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        # Without a pid namespace of its own, at least the process group.
        os.kill(child, signal.SIGKILL) if namespaces else os.killpg(child, signal.SIGKILL)


def _kill_orphans() -> None:
    """Kill what a job without pid namespace left behind; orphans have become children of this process."""
    while True:
        with open("/proc/self/task/%d/children" % os.getpid()) as file:  # noqa: PTH123, UP031
            orphans = [int(pid) for pid in file.read().split()]
        if not orphans:
            return
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _become_job(request: dict, descriptors: list[int], options: dict) -> None:
    """Lock this fresh process down, run the job's program in it, and never return."""
    payload, result, output = descriptors
    os.dup2(output, _OUTPUT)
    os.dup2(output, _ERRORS)
    try:
        program = _lock(request, payload, result, options)
    except (OSError, ValueError, KeyError) as error:
        os.write(_OUTPUT, b"!" + repr(error).encode())
        os._exit(_SET_UP_FAILED)
    # The parent's clock starts here: what came before is not the candidate's time.
    os.write(_OUTPUT, b"+")
    try:
        program.main(_PAYLOAD, _RESULT)
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(0)


def _lock(request: dict, payload: int, result: int, options: dict) -> ModuleType:
    program = sys.modules[request["program"]]
    if options["isolation"] == "none":
        os.setsid()
    else:
        if options["isolation"] == "namespaces":
            kernel.unshare(kernel.CLONE_NEWUSER)
        kernel.drop_capabilities()
    # Out of the way of the numbers that they get, whatever numbers they came with.
    payload, result = (fcntl.fcntl(descriptor, fcntl.F_DUPFD, 16) for descriptor in (payload, result))
    os.dup2(os.open("/dev/null", os.O_RDONLY), _CONTROL)
    os.dup2(result, _RESULT, inheritable=False)
    os.dup2(payload, _PAYLOAD, inheritable=False)
    os.closerange(_FIRST_FREE, 1024)
    os.chdir(request["directory"])
    if options["landlock"]:
        kernel.restrict_files(options["readable"], [request["directory"]])
    for name, value in request["resources"].items():
        _limit(getattr(resource, name), value)
    if options["refusal"]:
        kernel.filter_system_calls(options["refusal"])
    # Code that draws at random shall draw the same in every job.
    random.seed(0)
    gc.enable()
    return program


def _limit(limit: int, value: int) -> None:
    try:
        resource.setrlimit(limit, (value, value))
    except ValueError:
        # The machine allows less than that already, or, as gVisor, sets some limits for nobody: the probes see what that opens.
        _, hard = resource.getrlimit(limit)
        with contextlib.suppress(ValueError):
            resource.setrlimit(limit, (hard, hard))
