"""Judge candidates: the one entrance to verification."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.verdicts import Verdict
from rllm_assets.sandbox.grades import open_sandbox
from rllm_assets.sandbox.jobs import Grade, Limits, SandboxError
from rllm_assets.verification import functions

_PROGRAMS = (functions.CASES,)


class Verifier:
    """Judges candidate fixes in a sandbox; a context manager, callable from several threads.

    Args:
        workers: sandboxes side by side, a core each; by default as many as there are cores.
        allow_unsandboxed: take whatever sandbox the machine offers, even none. Candidates may then harm the machine.

    Raises:
        SandboxUnavailableError: where the machine offers no strong sandbox and `allow_unsandboxed` is not set.
    """

    def __init__(self, workers: int | None = None, allow_unsandboxed: bool = False) -> None:
        self._workers = workers or len(os.sched_getaffinity(0))
        self._limits = Limits()
        self._pool = open_sandbox(_PROGRAMS, self._workers, self._limits, allow_unsandboxed)

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandboxes."""
        self._pool.close()

    @property
    def grade(self) -> Grade:
        """How strong the sandbox is."""
        return self._pool.grade

    def verify(self, task: FunctionTask, code: str | None) -> Verdict:
        """Judge one candidate; `code` is None where no answer could be found in a response."""
        if code is None:
            return Verdict(
                status="invalid_patch", tests_total=len(task.cases), reason="no code in the answer", sandbox_grade=self.grade
            )
        try:
            outcome = self._pool.run(functions.cases_job(task, code, self._limits))
        except SandboxError as error:
            return Verdict(status="no_verdict", tests_total=len(task.cases), reason=str(error), sandbox_grade=self.grade)
        return functions.judge_cases(task, outcome, self.grade)

    def verify_many(self, jobs: Sequence[tuple[FunctionTask, str | None]]) -> list[Verdict]:
        """Judge many candidates side by side; the verdicts come in the order of the jobs."""
        with ThreadPoolExecutor(self._workers) as threads:
            return list(threads.map(lambda job: self.verify(*job), jobs))
