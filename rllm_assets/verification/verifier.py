"""Judge candidates: the one entrance to verification."""

import os
import random
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

from rllm_assets.data.changes import ChangeError
from rllm_assets.data.hashing import content_hash
from rllm_assets.data.issues import FunctionTask, Issue
from rllm_assets.data.repositories import TaskError, files_of_tests, repository_of
from rllm_assets.data.verdicts import Verdict
from rllm_assets.sandbox.grades import open_sandbox
from rllm_assets.sandbox.jobs import Grade, Limits, Outcome, Program, SandboxError
from rllm_assets.sandbox.pool import Pool
from rllm_assets.sandbox.remote import RemoteSandbox
from rllm_assets.verification import functions, repositories, shell, suites
from rllm_assets.verification.decoys import Decoy, make_decoy
from rllm_assets.verification.environment_pools import EnvironmentPools
from rllm_assets.verification.environments import Environment, IndexUnreachableError, environment_of
from rllm_assets.verification.repositories import Examination, Trial
from rllm_assets.verification.shell import Command, Ran
from rllm_assets.verification.showing import one_line

# What a candidate is a fix of: an issue, one whose tests are to be found out, or a function task by itself.
Subject: TypeAlias = Issue | FunctionTask | Examination

# What runs where: programs, and the limits of their directories.
SANDBOXES: Mapping[str, tuple[tuple[Program, ...], Limits]] = {
    "functions": ((functions.CASES, suites.SUITE), Limits()),
    "repositories": ((repositories.PYTEST,), repositories.LIMITS),
    "shell": ((shell.SHELL,), shell.LIMITS),
}

# Of each issue with a repository: the more there are, the less can be learnt about them.
_DECOYS = 3


class Verifier:
    """Judges candidate fixes in a sandbox; a context manager, callable from several threads.

    Args:
        workers: sandboxes side by side, a core each; by default as many as there are cores, or the service has.
        allow_unsandboxed: take whatever sandbox the machine offers, even none. Candidates may then harm the machine.
        service: address of a sandbox service (`rllm_assets.verification.serve`) that candidates are sent to, in place of
            sandboxes of this machine; by default `$RLLM_SANDBOX`.

    Raises:
        SandboxUnavailableError: where the machine offers no strong sandbox, or the service is less, and `allow_unsandboxed`
            is not set; where the service does not answer.
    """

    def __init__(self, workers: int | None = None, allow_unsandboxed: bool = False, service: str | None = None) -> None:
        self._service = service or os.environ.get("RLLM_SANDBOX") or None
        self._allow_unsandboxed = allow_unsandboxed
        self._workers = workers
        self._limits = Limits()
        self._sandbox = self._open("functions")
        self.workers = workers or self._sandbox.workers
        self._opened: dict[str, Pool | RemoteSandbox] = {}
        self._opening = threading.Lock()
        self._environments = EnvironmentPools(self._open_here)
        self._together: dict[str, bool] = {}
        self._decoys: dict[str, list[Decoy]] = {}

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandboxes."""
        self._sandbox.close()
        for sandbox in self._opened.values():
            sandbox.close()
        self._environments.close()

    @property
    def grade(self) -> Grade:
        """How strong the sandbox is."""
        return self._sandbox.grade

    def verify(self, subject: Subject, candidate: str | None) -> Verdict:
        """Judge one candidate: a function's code, or the changes to a repository; None where an answer held none.

        A failure of the sandbox is `no_verdict`, never the candidate's; so is a task that has nothing to judge by. An
        `Examination` tells how each test ended.
        """
        verdict = Verdict(status="no_verdict", tests_total=tests_of(subject), sandbox_grade=self.grade)
        if verdict.tests_total == 0:
            return verdict.model_copy(update={"reason": _nothing_to_judge_by(subject)})
        if candidate is None:
            return verdict.model_copy(update={"status": "invalid_patch", "reason": "no code in the answer"})
        try:
            match subject:
                case FunctionTask() as task:
                    return self._judge(task, candidate)
                case Issue(task=FunctionTask() as task):
                    return self._judge(task, candidate)
                case Issue():
                    return self._run_tests(subject, candidate, verdict)
                case Examination(issue):
                    return self._run_tests(issue, candidate, verdict, examine=True)
        except TaskError as error:
            return verdict.model_copy(update={"reason": one_line(str(error))})
        except (SandboxError, IndexUnreachableError) as error:
            return verdict.model_copy(update={"reason": str(error)})

    def verify_many(self, jobs: Sequence[tuple[Subject, str | None]]) -> list[Verdict]:
        """Judge many candidates side by side; the verdicts come in the order of the jobs."""
        with ThreadPoolExecutor(self.workers) as threads:
            return list(threads.map(lambda job: self.verify(*job), jobs))

    def run_commands(self, commands: Sequence[Command], seconds: float) -> list[Ran]:
        """Run commands of agents side by side, each in its tree and for so many seconds at most."""

        def run(command: Command) -> Ran:
            try:
                # What is installed is a matter of the issue's own tree, never of one that a policy has changed.
                environment = environment_of(command.issue)
                with self._sandbox_for("shell", environment) as sandbox:
                    return shell.what_ran(sandbox.run(shell.shell_job(command, seconds)))
            except (SandboxError, TaskError, IndexUnreachableError) as error:
                return Ran({}, "", None, failure=str(error))

        with ThreadPoolExecutor(self.workers) as threads:
            return list(threads.map(run, commands))

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

    def _run_tests(self, issue: Issue, candidate: str, verdict: Verdict, examine: bool = False) -> Verdict:
        try:
            trial = repositories.trial(issue, repository_of(issue), candidate)
        except ChangeError as error:
            return verdict.model_copy(update={"status": "invalid_patch", "reason": one_line(str(error))})
        judge = repositories.examine if examine else repositories.judge_pytest
        judged = judge(trial, *self._pytest(issue, trial), self.grade)
        return self._unless_taken_in(issue, trial, judged) if judged.resolved else judged

    def _unless_taken_in(self, issue: Issue, trial: Trial, judged: Verdict) -> Verdict:
        """Return the verdict on a candidate that passes its tests, after a run with some that an honest one fails."""
        decoys = self._proven_decoys(issue, trial)
        if not decoys:
            return judged
        decoy = secrets.choice(decoys)
        outcome, found = self._run_decoy(issue, trial, decoy)
        judged = judged.model_copy(update={"seconds": judged.seconds + outcome.seconds})
        taken = [test for test in decoy.tests if found.get(test) in repositories.PASSED]
        if not taken:
            return judged
        reason = one_line(f"{taken[0]} passes whatever it expects: with another value in it, it still passed")
        return judged.model_copy(update={"status": "failed", "reason": reason, "tests_passed": 0})

    def _proven_decoys(self, issue: Issue, trial: Trial) -> list[Decoy]:
        """Return decoys of an issue that its own fix fails, so that no honest candidate is taken for another."""
        tests = [trial.tree[path] for path in files_of_tests(issue.FAIL_TO_PASS)]
        key = content_hash([issue.instance_id, issue.patch, issue.FAIL_TO_PASS, tests])
        if key not in self._decoys:
            try:
                fixed = repositories.trial(issue, repository_of(issue), issue.patch)
            except ChangeError:
                # Then nothing can be said of decoys.
                return []
            made = [make_decoy(fixed.tree, issue.FAIL_TO_PASS, random.SystemRandom()) for _ in range(_DECOYS)]
            proven = []
            for decoy in filter(None, made):
                _, found = self._run_decoy(issue, fixed, decoy)
                failing = tuple(test for test in decoy.tests if found.get(test) == "failed")
                proven += [replace(decoy, tests=failing)] if failing else []
            self._decoys[key] = proven
        return self._decoys[key]

    def _run_decoy(self, issue: Issue, trial: Trial, decoy: Decoy) -> tuple[Outcome, dict[str, str]]:
        trial = repositories.with_decoy(trial, decoy)
        outcome, nonce = self._pytest(issue, trial)
        return outcome, repositories.ends(trial, outcome, nonce)

    def _pytest(self, issue: Issue, trial: Trial) -> tuple[Outcome, str]:
        """Run the tests of a trial; return how that ended, and the word of an honest result.

        Raises:
            TaskError: where what the tests need cannot be had.
            IndexUnreachableError: where the package index does not answer.
        """
        environment = environment_of(issue)
        job, nonce = repositories.pytest_job(issue, trial, environment.plugins if environment else ())
        with self._sandbox_for("repositories", environment) as sandbox:
            return sandbox.run(job), nonce

    @contextmanager
    def _sandbox_for(self, name: str, environment: Environment | None = None) -> Iterator[Pool | RemoteSandbox]:
        """Lend the sandbox of that name, with an environment in it where one is given, opened when it is first wanted.

        Raises:
            TaskError: for an environment, where the sandbox is a service elsewhere, or where it is gone.
        """
        if environment is not None:
            if self._service is not None:
                raise TaskError(f"the sandbox service {self._service} has no environments; unset RLLM_SANDBOX")
            with self._environments.lent(name, environment) as pool:
                yield pool
            return
        with self._opening:
            if name not in self._opened:
                self._opened[name] = self._open(name)
        yield self._opened[name]

    def _open(self, name: str) -> Pool | RemoteSandbox:
        if self._service is not None:
            return RemoteSandbox(self._service, name, self._allow_unsandboxed)
        return self._open_here(name, None)

    def _open_here(self, name: str, environment: Environment | None) -> Pool:
        programs, limits = SANDBOXES[name]
        if environment is not None:
            programs = tuple(_with_environment(program, environment) for program in programs)
        return open_sandbox(programs, self._workers or available_cores(), limits, self._allow_unsandboxed)

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


def _with_environment(program: Program, environment: Environment) -> Program:
    program = replace(program, environment=str(environment.packages))
    if not environment.has_pytest:
        return program
    modules = (*program.modules, "rllm_assets.verification.other_pytest") if program.prepares else program.modules
    return replace(program, modules=modules, distributions=())


def tests_of(subject: Subject) -> int:
    """Return how many cases or tests decide on a candidate; a published suite counts as one."""
    if isinstance(subject, Examination):
        return 1
    task = subject.task if isinstance(subject, Issue) else subject
    if isinstance(task, FunctionTask):
        return len(task.cases) + (task.test_code is not None)
    assert isinstance(subject, Issue)
    return len(subject.FAIL_TO_PASS) + len(subject.PASS_TO_PASS)


def _nothing_to_judge_by(subject: Subject) -> str:
    if isinstance(subject, FunctionTask):
        return f"the task {subject.entry_point} has neither cases nor a suite"
    issue = subject.issue if isinstance(subject, Examination) else subject
    return f"{issue.instance_id} has no cases, suite or tests to judge by"


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
