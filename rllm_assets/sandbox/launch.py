"""Start a zygote: what it sees, who it is, and how its code gets in."""

import contextlib
import errno
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from rllm_assets.sandbox import memory, seccomp
from rllm_assets.sandbox.jobs import Grade, Limits, Program, SandboxError

# Reads modules from a descriptor and runs the last one: inside there is no installation to import from.
_BOOTSTRAP = """
import json, os, sys, types
with open(int(sys.argv[1]), "rb") as file:
    shipment = json.loads(file.read())
for name, source in shipment["modules"]:
    parts = name.split(".")
    for end in range(1, len(parts)):
        package = ".".join(parts[:end])
        if package not in sys.modules:
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = []
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, "<" + name + ">", "exec"), module.__dict__)
    setattr(sys.modules[".".join(parts[:-1])], parts[-1], module)
sys.modules[shipment["main"]].main(shipment["options"])
"""
_PYTHON = ("-S", "-s", "-P", "-B", "-c", _BOOTSTRAP)
# Iteration order of sets of strings is part of what candidates do: the same in every zygote.
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}

_LIBRARIES = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib32",
    "/usr/libx32",
    "/lib",
    "/lib64",
    "/lib32",
    "/nix/store",
    "/gnu/store",
)
_COMMANDS = ("/bin", "/usr/bin")
_DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")
_START_SECONDS = 60.0
_DIRECTORY = "/tmp"
# Not where they lie on the host: jobs get a fresh /tmp, which would hide an environment below it.
_PACKAGES = "/packages"
_ENVIRONMENT_INSIDE = "/environment"

_slots = count()
_slot_lock = threading.Lock()


@dataclass
class Zygote:
    """A running zygote, seen from outside."""

    control: socket.socket
    launcher: subprocess.Popen
    pid: int
    """On the host."""
    process: int | None
    """A pidfd, which cannot come to mean another process; None where the kernel has none."""
    directory: str
    grade: Grade
    errors: int
    resident: int
    """Bytes of memory that every job starts with."""
    jobs: int = 0
    healthy: bool = True

    def kill(self) -> None:
        """Kill it, and with it everything inside."""
        if self.grade != "strong":
            # No pid namespace goes down with it.
            for pid in memory.descendants(self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            if self.process is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self.process, signal.SIGKILL)

    def said(self) -> str:
        """Return the last line that it wrote to its standard error."""
        return os.pread(self.errors, 65536, 0).decode(errors="replace").strip().rpartition("\n")[2]

    def end(self) -> None:
        """Kill it with everything in it and wait until that is done."""
        self.control.close()
        self.kill()
        self.launcher.wait()
        if self.process is not None:
            os.close(self.process)
        os.close(self.errors)
        if self.directory != _DIRECTORY:
            shutil.rmtree(self.directory, ignore_errors=True)


def interpreter() -> str:
    """Return the path of the Python that runs inside: the one under this environment, never a venv's link to it."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return str(Path(base).resolve())


def visible(programs: tuple[Program, ...] = ()) -> list[str]:
    """Return the host's paths that can be read inside: the interpreter, the shared libraries, and commands where asked for."""
    paths = [path for path in _shared(programs) if Path(path).is_dir() and not Path(path).is_symlink()]
    # As it is called and as it really lies, where links lead there.
    homes = dict.fromkeys([sys.base_prefix, sys.base_exec_prefix, str(Path(sys.base_prefix).resolve())])
    for path in (interpreter(), *(f"{home}/{library}" for home in homes for library in ("lib", "lib64"))):
        if Path(path).exists() and not any(Path(path).is_relative_to(known) for known in paths):
            paths.append(path)
    return paths


def _shared(programs: tuple[Program, ...]) -> tuple[str, ...]:
    return _LIBRARIES + (_COMMANDS if any(program.commands for program in programs) else ())


def packages(programs: tuple[Program, ...]) -> dict[str, str]:
    """Return the packages that the programs' distributions bring, and what those require: names to paths on the host.

    Raises:
        SandboxError: where a distribution is not installed.
    """
    found: dict[str, str] = {}
    wanted = [name for program in programs for name in program.distributions]
    if not wanted:
        return found
    # Jobs that need no package do without this one too.
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    seen: set[str] = set()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise SandboxError(f"{name} is not installed; pip install {name}") from None
        for file in distribution.files or ():
            top = file.parts[0]
            if top != ".." and not top.endswith((".dist-info", "__pycache__")):
                found[top] = str(distribution.locate_file(top))
        requirements = [Requirement(text) for text in distribution.requires or ()]
        wanted += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def start(grade: Grade, programs: tuple[Program, ...], limits: Limits) -> Zygote:
    """Start a zygote of the given grade and wait until it is ready.

    Raises:
        SandboxError: where it does not come up, with what it said.
    """
    try:
        return _start(grade, programs, limits)
    except OSError as error:
        raise SandboxError(f"the machine refuses what a sandbox needs: {error}") from error


def _start(grade: Grade, programs: tuple[Program, ...], limits: Limits) -> Zygote:
    with contextlib.ExitStack() as failure, contextlib.ExitStack() as started:
        errors = os.memfd_create("errors")
        failure.callback(os.close, errors)
        owned = None
        if grade != "strong":
            owned = tempfile.mkdtemp(prefix="rllm-sandbox-")
            failure.callback(shutil.rmtree, owned, ignore_errors=True)
        inside, outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        started.callback(inside.close)
        failure.callback(outside.close)
        information, told = os.pipe()
        started.callback(os.close, information)
        # Closed as soon as the other side has it, or its end would not be seen.
        handed = started.enter_context(contextlib.ExitStack())
        handed.callback(os.close, told)
        modules = ["rllm_assets.sandbox.kernel", *(name for program in programs for name in program.modules)]
        code = _shipment([*modules, "rllm_assets.sandbox.zygote"], _options(grade, programs, limits), started)
        command, descriptors = [interpreter(), *_PYTHON, str(code)], [code]
        with inside, handed:
            if grade == "strong":
                command, extra = _locked(command, programs, told, started)
                descriptors += [told, *extra]
            launcher = subprocess.Popen(
                command,
                env=_ENVIRONMENT,
                stdin=inside.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=descriptors,
                cwd="/",
                start_new_session=True,
            )
        failure.callback(launcher.wait)
        failure.callback(launcher.kill)
        _await_greeting(launcher, outside, errors)
        pid = json.loads(os.read(information, 65536))["child-pid"] if grade == "strong" else launcher.pid
        zygote = Zygote(
            control=outside,
            launcher=launcher,
            pid=pid,
            process=_pidfd(pid),
            directory=owned or _DIRECTORY,
            grade=grade,
            errors=errors,
            resident=memory.resident_bytes(pid),
        )
        failure.pop_all()
        return zygote


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        # Until it has been waited for, nobody else gets the pid of a child.
        if error.errno == errno.ENOSYS:
            return None
        raise


def _options(grade: Grade, programs: tuple[Program, ...], limits: Limits) -> dict[str, Any]:
    brought = packages(programs)
    sites = [_PACKAGES] if grade == "strong" else sorted({str(Path(path).parent) for path in brought.values()})
    environment = _environment(programs)
    return {
        "sites": [*(sites if brought else []), *(environment if grade == "strong" else environment.values())],
        "preload": [name for program in programs for name in program.preload],
        "prepare": [program.modules[-1] for program in programs if program.prepares],
        "isolation": {"strong": "namespaces", "gvisor": "helper"}.get(grade, "none"),
        "landlock": grade == "weak",
        "seccomp": seccomp.program().hex() if grade != "none" else "",
        "refusal": seccomp.refusal().hex() if grade != "none" else "",
        "directory": f"size={limits.disk_mb}m,nr_inodes={limits.disk_files},mode=1777",
        "readable": [*visible(programs), *brought.values(), *environment.values(), *_DEVICES],
    }


def _environment(programs: tuple[Program, ...]) -> dict[str, str]:
    """Return the environment of the programs, which have one at most: where it lies inside, and on the host."""
    found = next((program.environment for program in programs if program.environment), "")
    return {_ENVIRONMENT_INSIDE: found} if found else {}


def _await_greeting(launcher: subprocess.Popen, control: socket.socket, errors: int) -> None:
    control.settimeout(_START_SECONDS)
    try:
        ready = control.recv(65536)
    except TimeoutError:
        ready = b""
    if not ready:
        launcher.kill()
        launcher.wait()
        said = os.pread(errors, 4096, 0).decode(errors="replace").strip()
        raise SandboxError(f"the sandbox did not start: {said or f'no answer, exit code {launcher.returncode}'}")
    control.settimeout(None)


def _shipment(modules: list[str], options: dict[str, Any], owner: contextlib.ExitStack) -> int:
    """Return a descriptor, closed by `owner`, from which the bootstrap reads modules and options; the last one is run."""
    sources = [(name, _source(name)) for name in dict.fromkeys(modules)]
    descriptor = os.memfd_create("code")
    owner.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(json.dumps({"modules": sources, "main": modules[-1], "options": options}).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@functools.cache
def _source(name: str) -> str:
    """Return a module's text: the same for every zygote of this process, even if the installation changes meanwhile."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SandboxError(f"the sandbox's own module {name} has no source")
    return Path(spec.origin).read_text(encoding="utf-8")


def _locked(
    command: list[str], programs: tuple[Program, ...], told: int, owner: contextlib.ExitStack
) -> tuple[list[str], list[int]]:
    """Return the command wrapped in bubblewrap, and the descriptors that it needs besides."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise SandboxError("there is no bwrap on PATH")
    root = os.geteuid() == 0
    # As they are called inside, and where they lie outside.
    binds = {path: path for path in visible(programs)}
    binds |= {f"{_PACKAGES}/{name}": path for name, path in packages(programs).items()}
    binds |= _environment(programs)
    binds |= {path: path for path in _DEVICES}
    arguments = [bubblewrap, "--unshare-all", "--as-pid-1", "--new-session", "--info-fd", str(told)]
    # In its own namespaces, the zygote has to make more of them.
    arguments += ["--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"]
    arguments += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    for number, (inside, path) in enumerate(binds.items()):
        kind = "--dev-bind" if path in _DEVICES else "--ro-bind"
        arguments += [kind, f"@{number}@" if root else path, inside]
    for link in _shared(programs):
        if Path(link).is_symlink():
            arguments += ["--symlink", str(Path(link).readlink()), link]
    arguments += ["--dir", _DIRECTORY, "--remount-ro", "/", "--chdir", "/"]
    for name, value in _ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    arguments += ["--", *command]
    if not root:
        return arguments, []
    # Bubblewrap itself may lie where only root can reach it.
    arguments[0] = f"@{len(binds)}@"
    options = {"binds": [*binds.values(), bubblewrap], "command": arguments, "uid": _spare_uid()}
    code = _shipment(["rllm_assets.sandbox.kernel", "rllm_assets.sandbox.enter"], options, owner)
    return [interpreter(), *_PYTHON, str(code)], [code]


def _spare_uid() -> int:
    """Return a uid that nobody has: older kernels count processes by uid, so each zygote gets its own.

    The range above 0x70000000 is given to nobody by systemd (https://systemd.io/UIDS-GIDS/); a container may know fewer.
    """
    with _slot_lock:
        slot = next(_slots) % 256
    wanted = 0x70000000 + (os.getpid() % 65536) * 256 + slot
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, length = (int(part) for part in line.split())
        if first <= wanted < first + length:
            return wanted
    return 60000 + slot
