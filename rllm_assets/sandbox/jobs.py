"""What a sandbox is given and what it answers."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

Grade = Literal["strong", "gvisor", "weak", "none"]
Ending = Literal["exited", "signalled", "timeout", "out_of_memory", "flooded"]


class SandboxError(RuntimeError):
    """The sandbox itself failed, twice in a row; this says nothing about the job."""


class SandboxUnavailableError(RuntimeError):
    """This machine offers no sandbox of the wanted grade."""


@dataclass(frozen=True)
class Limits:
    """What one job, with all its processes, may use."""

    memory_mb: int = 512
    processes: int = 32
    open_files: int = 64
    disk_mb: int = 64
    disk_files: int = 4096
    output_bytes: int = 1 << 20
    result_bytes: int = 2 << 20


@dataclass(frozen=True)
class Program:
    """The trusted code that runs a job inside.

    The source of `modules` is shipped in their order; they import nothing but the standard library, each other and the
    installed `distributions`, which can be read inside with what they require. The last one has a function
    ``main(payload, result)``, which gets the descriptors to read the payload from and to write results to. `preload` names
    modules that are imported before any job comes; where it `prepares`, the last module's ``prepare()`` is called after that.
    With `commands`, the programs in the host's ``/bin`` and ``/usr/bin`` can be run inside. `environment` is a directory of
    packages that can be imported inside, after those of the distributions.
    """

    modules: tuple[str, ...]
    preload: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    prepares: bool = False
    commands: bool = False
    environment: str = ""


@dataclass(frozen=True)
class Job:
    """One untrusted piece of work."""

    program: str
    payload: bytes
    timeout_seconds: float
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Outcome:
    """How a job ended and what it wrote; nothing in `result` and `output` can be believed."""

    ended: Ending
    code: int
    """Exit code, or the signal's number."""
    result: bytes
    output: bytes
    seconds: float


class Sandbox(Protocol):
    """A place to run untrusted jobs, in programs that it was opened with."""

    @property
    def grade(self) -> Grade:
        """How strong it is, as measured by probes."""
        ...

    def run(self, job: Job) -> Outcome:
        """Run one job to its end; callable from several threads.

        Raises:
            SandboxError: where the sandbox failed, not the job.
        """
        ...
