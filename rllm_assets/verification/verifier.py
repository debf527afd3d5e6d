"""Judge candidates: the one entrance to verification."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rllm_assets.data.hashing import content_hash
from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.verdicts import Verdict
from rllm_assets.sandbox.grades import open_sandbox
from rllm_assets.sandbox.jobs import Grade, Limits, SandboxError
from rllm_assets.verification import functions, suites

_PROGRAMS = (functions.CASES, suites.SUITE)


class Verifier:
    """Judges candidate fixes in a sandbox; a context manager, callable from several threads.

    Args:
        workers: sandboxes side by side, a core each; by default as many as there are cores.
        allow_unsandboxed: take whatever sandbox the machine offers, even none. Candidates may then harm the machine.

    Raises:
        SandboxUnavailableError: where the machine offers no strong sandbox and `allow_unsandboxed` is not set.
    """

    def __init__(self, workers: int | None = None, allow_unsandboxed: bool = False) -> None:
        self.workers = workers or _cores()
        self._limits = Limits()
        self._sandbox = open_sandbox(_PROGRAMS, self.workers, self._limits, allow_unsandboxed)
        self._together: dict[str, bool] = {}

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandboxes."""
        self._sandbox.close()

    @property
    def grade(self) -> Grade:
        """How strong the sandbox is."""
        return self._sandbox.grade

    def verify(self, task: FunctionTask, code: str | None) -> Verdict:
        """Judge one candidate; `code` is None where no answer could be found in a response.

        A failure of the sandbox is `no_verdict`, never the candidate's; so is a task that has nothing to judge by.
        """
        total = len(task.cases) + (task.test_code is not None)
        verdict = Verdict(status="no_verdict", tests_total=total, sandbox_grade=self.grade)
        if total == 0:
            return verdict.model_copy(update={"reason": f"the task {task.entry_point} has neither cases nor a suite"})
        if code is None:
            return verdict.model_copy(update={"status": "invalid_patch", "reason": "no code in the answer"})
        try:
            return self._judge(task, code)
        except SandboxError as error:
            return verdict.model_copy(update={"reason": str(error)})

    def verify_many(self, jobs: Sequence[tuple[FunctionTask, str | None]]) -> list[Verdict]:
        """Judge many candidates side by side; the verdicts come in the order of the jobs."""
        with ThreadPoolExecutor(self.workers) as threads:
            return list(threads.map(lambda job: self.verify(*job), jobs))

    def _judge(self, task: FunctionTask, code: str) -> Verdict:
        """Run the cases, and the suite of what passed them."""
        if not task.cases:
            return self._run_suite(task, code, self._runs_together(task))
        outcome = self._sandbox.run(functions.cases_job(task, code, self._limits))
        verdict = functions.judge_cases(task, outcome, self.grade)
        if task.test_code is None:
            return verdict
        if not verdict.resolved:
            return verdict.model_copy(update={"tests_total": verdict.tests_total + 1})
        suite = self._run_suite(task, code, self._runs_together(task))
        return suite.model_copy(
            update={
                "tests_passed": verdict.tests_passed + suite.tests_passed,
                "tests_total": verdict.tests_total + suite.tests_total,
                "seconds": verdict.seconds + suite.seconds,
            }
        )

    def _run_suite(self, task: FunctionTask, code: str, together: bool) -> Verdict:
        job, nonce = suites.suite_job(task, code, self._limits, together)
        return suites.judge_suite(task, self._sandbox.run(job), nonce, self.grade)

    def _runs_together(self, task: FunctionTask) -> bool:
        """Tell whether a suite needs the candidate in its own process: only where its own fix passes no other way.

        This is found out with the fix, so that no candidate can choose the weaker way.
        """
        key = content_hash([task.entry_point, task.fixed_code, task.test_code])
        if key not in self._together:
            # Time and memory may have run out by chance; an assertion fails for a reason.
            apart = self._run_suite(task, task.fixed_code, together=False).status
            self._together[key] = apart == "failed" and self._run_suite(task, task.fixed_code, together=True).resolved
        return self._together[key]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
