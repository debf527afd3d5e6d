"""Judge candidates on a cluster: the same verdicts in the same order, from many machines."""

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeAlias

from rllm_assets.compute import Compute, Outcome, Size, WorkerLostError, open_compute
from rllm_assets.config import DistributedConfig
from rllm_assets.data.verdicts import Verdict
from rllm_assets.sandbox.jobs import Grade
from rllm_assets.verification.shell import Command, Ran
from rllm_assets.verification.verifier import Subject, Verifier, tests_of

Job: TypeAlias = tuple[Subject, str | None]
Numbered: TypeAlias = list[tuple[int, Job]]

# Large enough that sending it costs little beside judging it, small enough that no worker waits long for the last one.
_CHUNK = 32
_CHUNKS_A_WORKER = 4


@contextmanager
def open_verifier(
    distributed: DistributedConfig, allow_unsandboxed: bool = False
) -> "Iterator[Verifier | DistributedVerifier]":
    """Yield a verifier that uses all cores of this machine, or all CPUs of the Ray cluster where `compute` is ray.

    Raises:
        ClusterUnreachableError: where `ray_address` names no Ray cluster that answers.
        SandboxUnavailableError: where a machine offers no strong sandbox and `allow_unsandboxed` is not set.
        ResourcesError: where the cluster has no CPU to give.
    """
    if distributed.compute == "local":
        with Verifier(allow_unsandboxed=allow_unsandboxed) as here:
            yield here
        return
    with (
        open_compute(distributed) as compute,
        DistributedVerifier(compute, allow_unsandboxed=allow_unsandboxed) as spread,
    ):
        yield spread


class DistributedVerifier:
    """Judges candidates with a verifier of one sandbox on each worker; a context manager, callable from several threads.

    A worker that dies loses no job: what it had is judged again, each job by itself, so that only a job that takes
    its worker down twice more ends as `no_verdict`.

    Args:
        compute: where the workers are.
        at_most: workers; by default one for each CPU.
        allow_unsandboxed: as for `Verifier`.
        make: makes a worker's verifier, in place of those.

    Raises:
        SandboxUnavailableError: where a machine offers no strong sandbox and `allow_unsandboxed` is not set.
        ResourcesError: where the cluster has no CPU to give.
    """

    def __init__(
        self,
        compute: Compute,
        at_most: int | None = None,
        allow_unsandboxed: bool = False,
        make: Callable[[], AbstractContextManager[Verifier]] | None = None,
    ) -> None:
        made = make or functools.partial(Verifier, workers=1, allow_unsandboxed=allow_unsandboxed)
        self._one_at_a_time = threading.Lock()
        self._owned = ExitStack()
        self._crew = self._owned.enter_context(compute.crew(made, Size(cpus=1), at_most))
        self.workers = self._crew.workers
        try:
            self._grade: Grade = next(iter(self._crew.run(_grade, [None], retries=1))).value()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "DistributedVerifier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._owned.close()

    @property
    def grade(self) -> Grade:
        """How strong the sandbox is, as the first worker found it."""
        return self._grade

    def verify(self, subject: Subject, candidate: str | None) -> Verdict:
        """Judge one candidate; None where an answer held none."""
        return self.verify_many([(subject, candidate)])[0]

    def verify_many(self, jobs: Sequence[Job]) -> list[Verdict]:
        """Judge many candidates side by side; the verdicts come in the order of the jobs."""
        verdicts: dict[int, Verdict] = {}
        with self._one_at_a_time:
            lost = self._judge(_chunks(jobs, self.workers), verdicts, retries=0)
            for outcome in self._judge([[job] for chunk in lost for job in chunk.item], verdicts, retries=1):
                for number, (subject, _) in outcome.item:
                    verdicts[number] = Verdict(
                        status="no_verdict",
                        tests_total=tests_of(subject),
                        reason=str(outcome.error),
                        sandbox_grade=self.grade,
                    )
        return [verdicts[number] for number in range(len(jobs))]

    def run_commands(self, commands: Sequence[Command], seconds: float) -> list[Ran]:
        """Run commands of agents side by side, as `Verifier.run_commands`; one that takes its worker down twice has failed."""
        ran: dict[int, Ran] = {}
        with self._one_at_a_time:
            for outcome in self._crew.run(functools.partial(_run_command, seconds), enumerate(commands), retries=1):
                number, _ = outcome.item
                lost = isinstance(outcome.error, WorkerLostError)
                ran[number] = Ran({}, "", None, failure=str(outcome.error)) if lost else outcome.value()
        return [ran[number] for number in range(len(commands))]

    def _judge(
        self, chunks: Iterable[Numbered], verdicts: dict[int, Verdict], retries: int
    ) -> list[Outcome[Numbered, list[Verdict]]]:
        """Add the verdicts on the chunks; return those that lost their workers."""
        lost: list[Outcome[Numbered, list[Verdict]]] = []
        for outcome in self._crew.run(_verify_chunk, chunks, retries):
            if isinstance(outcome.error, WorkerLostError):
                lost.append(outcome)
                continue
            for (number, _), verdict in zip(outcome.item, outcome.value(), strict=True):
                verdicts[number] = verdict
        return lost


def _chunks(jobs: Sequence[Job], workers: int) -> Iterator[Numbered]:
    size = max(1, min(_CHUNK, math.ceil(len(jobs) / (workers * _CHUNKS_A_WORKER))))
    numbered = iter(enumerate(jobs))
    while chunk := list(itertools.islice(numbered, size)):
        yield chunk


def _grade(verifier: Verifier, _: None) -> Grade:
    return verifier.grade


def _run_command(seconds: float, verifier: Verifier, numbered: tuple[int, Command]) -> Ran:
    (ran,) = verifier.run_commands([numbered[1]], seconds)
    return ran


def _verify_chunk(verifier: Verifier, chunk: Numbered) -> list[Verdict]:
    return verifier.verify_many([job for _, job in chunk])
