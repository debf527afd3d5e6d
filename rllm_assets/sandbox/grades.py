"""Find the strongest sandbox that this machine offers, by attacking each from inside."""

import functools
import json
import os
import sys
import tempfile
from pathlib import Path

from rllm_assets.sandbox.jobs import Grade, Job, Limits, Outcome, Program, SandboxError, SandboxUnavailableError
from rllm_assets.sandbox.launch import visible
from rllm_assets.sandbox.pool import Pool

ATTACKS = Program(modules=("rllm_assets.sandbox.attacks",), preload=("socket", "ctypes"))

# A weak sandbox has to stop these; a strong one stops everything that is tried.
_LEAST = frozenset(
    {"read a host file", "write to the host", "write to the interpreter", "write to the root", "see an environment"}
)
# In a container of gVisor's, these reach what is the container's own, in which there must be no secret.
_CONTAINERS_OWN = frozenset(
    {
        "read a host file",
        "read the system's users",
        "write to the host",
        "write to the interpreter",
        "write to the root",
        "see an environment",
    }
)
# What gVisor's kernel says of itself, whatever it runs on.
_GVISOR_VERSION = "#1 SMP Sun Jan 10 15:06:54 PST 2016"
_PROBE_LIMITS = Limits(memory_mb=128, processes=16)
# Far more than a probe takes, so that a busy machine is not taken for a leaking sandbox.
_PROBE_SECONDS = 50.0


def open_sandbox(
    programs: tuple[Program, ...],
    workers: int,
    limits: Limits,
    allow_unsandboxed: bool = False,
    grades: tuple[Grade, ...] = (),
) -> Pool:
    """Return the strongest sandbox that holds, with the programs loaded.

    Args:
        programs: what its jobs may run.
        workers: zygotes side by side.
        limits: size of the directory that each job gets; the other limits are each job's own.
        allow_unsandboxed: take a weak one, or none, where there is no strong one.
        grades: look at these only, the strongest first.

    Raises:
        SandboxUnavailableError: where only less than `strong` is to be had and `allow_unsandboxed` is not set.
    """
    if sys.platform != "linux":
        raise SandboxUnavailableError(
            f"untrusted code runs in sandboxes made of Linux namespaces; this is {sys.platform}"
        )
    reasons = []
    for grade in grades or ("strong", "gvisor", "weak", "none"):
        why = _probe_once(grade)
        if why is None and (grade in ("strong", "gvisor") or allow_unsandboxed):
            return Pool(grade, programs, workers, limits)
        reasons.append(f"{grade}: {why or 'available'}")
    raise SandboxUnavailableError(
        f"untrusted code needs a strong sandbox, and this machine has none ({'; '.join(reasons)}). "
        "Install bubblewrap (apt-get install bubblewrap) on a kernel that lets this user make namespaces, "
        "or set allow_unsandboxed=True to run candidates with what there is, at your own risk."
    )


def probe(grade: Grade) -> str | None:
    """Attack a sandbox of this grade; return why it does not deserve it, None when it does."""
    if grade == "none":
        return None
    if grade == "gvisor" and not is_gvisor():
        return "this kernel is not gVisor's"
    try:
        with Pool(grade, (ATTACKS,), 1, _PROBE_LIMITS) as pool:
            escapes = sorted(_escapes(pool))
    except (SandboxError, SandboxUnavailableError, OSError) as error:
        return str(error)
    if grade == "gvisor":
        escapes = [escape for escape in escapes if escape not in _CONTAINERS_OWN]
    if grade == "weak":
        escapes = [escape for escape in escapes if escape in _LEAST]
    return f"did not stop: {', '.join(escapes)}" if escapes else None


def is_gvisor() -> bool:
    """Tell whether this process runs in a gVisor sandbox."""
    try:
        return _GVISOR_VERSION in Path("/proc/version").read_text()
    except OSError:
        return False


# The machine does not change under a running process.
_probe_once = functools.lru_cache(maxsize=None)(probe)


def _escapes(pool: Pool) -> set[str]:
    """Return the names of the attacks that a sandbox did not stop."""
    escapes = set(_break_out(pool))
    bomb = _attack(pool, {"attack": "multiply", "most": 4 * _PROBE_LIMITS.processes})
    if bomb.ended != "exited" or int(bomb.result or b"0") >= _PROBE_LIMITS.processes:
        escapes.add("multiply without end")
    if pool.survivors():
        escapes.add("outlive the job")
    # Each process stays under the limit; together they are far above it.
    if _attack(pool, {"attack": "swell", "processes": 5, "mb": 40}).ended != "out_of_memory":
        escapes.add("take memory in many processes")
    if _attack(pool, {"attack": "spin"}, seconds=0.05).ended != "timeout":
        escapes.add("outrun the deadline")
    return escapes


def _break_out(pool: Pool) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="rllm-probe-") as name:
        directory = Path(name)
        # As open as files get, so that only the sandbox stands between.
        directory.chmod(0o777)
        secret = directory / "secret"
        secret.write_text("secret")
        secret.chmod(0o644)
        order = {
            "attack": "break out",
            "secret": str(secret),
            "directory": name,
            "libraries": [path for path in visible() if Path(path).is_dir()],
            "owner": os.getpid(),
        }
        outcome = _attack(pool, order)
    try:
        return list(json.loads(outcome.result))
    except json.JSONDecodeError as error:
        raise SandboxError(
            f"the probe ended as {outcome.ended} with code {outcome.code}: {outcome.output[-500:]!r}"
        ) from error


def _attack(pool: Pool, order: dict, seconds: float = _PROBE_SECONDS) -> Outcome:
    return pool.run(Job(ATTACKS.modules[-1], json.dumps(order).encode(), seconds, _PROBE_LIMITS))
