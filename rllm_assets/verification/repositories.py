"""Repository tasks: what goes into the sandbox, and the verdict on what comes out."""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rllm_assets.data.changes import UNCHANGED, ChangeError, Tree, applied
from rllm_assets.data.issues import Issue
from rllm_assets.data.paths import is_test_module
from rllm_assets.data.repositories import Repository, TaskError, files_of_tests, read_changes
from rllm_assets.data.trees import as_block
from rllm_assets.data.verdicts import Examined, Status, Verdict
from rllm_assets.sandbox.jobs import Grade, Job, Limits, Outcome, Program
from rllm_assets.verification.decoys import Decoy
from rllm_assets.verification.functions import ended_early
from rllm_assets.verification.protection import allowed
from rllm_assets.verification.showing import one_line
from rllm_assets.verification.tells import tells

PYTEST = Program(
    modules=("rllm_assets.verification.tree_program", "rllm_assets.verification.pytest_program"),
    preload=("faulthandler", "pdb", "readline", "unittest.mock"),
    distributions=("pytest",),
    prepares=True,
)
# A tree, its temporary files and the processes that tests like to start.
LIMITS = Limits(memory_mb=1024, processes=64, open_files=256, disk_mb=256, disk_files=20_000)

_TESTS_FAILED = 1
PASSED = ("passed", "xfailed")


@dataclass(frozen=True)
class Examination:
    """An issue whose tests are to be found out: every test of the files that its own changes to tests leave is run."""

    issue: Issue


@dataclass(frozen=True)
class Trial:
    """A candidate's tree under the tests of an issue, with a test among them that must fail."""

    tree: Tree
    files: tuple[str, ...]
    required: tuple[str, ...]
    fail_to_pass: int
    canary: str
    left_out: tuple[str, ...]


def test_files(issue: Issue, repository: Repository) -> list[str]:
    """Return the files of the required tests; where those are not known yet, the test modules of the issue's own changes.

    Raises:
        TaskError: where there are none.
    """
    required = (*issue.FAIL_TO_PASS, *issue.PASS_TO_PASS)
    files = files_of_tests(required) or [
        path for path, text in repository.tests.items() if text and is_test_module(path)
    ]
    if not files:
        raise TaskError(f"{issue.instance_id} has no tests to judge by")
    return files


def trial(issue: Issue, repository: Repository, candidate: str) -> Trial:
    """Return the tree with a candidate's changes, in which everything that decides the verdict is as the issue has it.

    Raises:
        ChangeError: where the changes cannot be read, do not fit, touch nothing but protected files, or do what only attacks on
            a judge do.
    """
    tree = repository.tree
    changes, left_out = allowed(read_changes(tree, candidate)) if candidate != UNCHANGED else ({}, [])
    if left_out and not changes:
        raise ChangeError(f"it changes only what decides the verdict: {', '.join(left_out)}")
    if suspicions := tells(tree, changes):
        raise ChangeError(f"{suspicions[0]}, which no fix needs")
    required = (*issue.FAIL_TO_PASS, *issue.PASS_TO_PASS)
    files = test_files(issue, repository)
    name = f"test_{secrets.token_hex(6)}"
    folder = files[0].rpartition("/")[0]
    file = f"{folder}/{name}.py" if folder else f"{name}.py"
    canary = f"def {name}():\n    assert {secrets.randbelow(1000)} == {1000 + secrets.randbelow(1000)}\n"
    # The issue's own changes to tests come last, whatever the candidate did to those files.
    merged = applied(tree, {**changes, **repository.tests, **repository.metadata, file: canary})
    return Trial(merged, tuple(files), required, len(issue.FAIL_TO_PASS), f"{file}::{name}", tuple(left_out))


def pytest_job(issue: Issue, made: Trial, plugins: Sequence[str] = ()) -> tuple[Job, str]:
    """Return the job that runs the required tests of a trial, and the word that stands in an honest result.

    `plugins` are modules of the issue's environment that pytest loads.
    """
    nonce = secrets.token_hex(32)
    # The canary stands anywhere among them.
    ordered = sorted((*made.files, *files_of_tests([made.canary])), key=lambda _: secrets.randbelow(1 << 30))
    parts, places = as_block(made.tree)
    job = json.dumps({"tree": places, "test_files": ordered, "plugins": list(plugins)}).encode()
    payload = b"".join([len(job).to_bytes(8, "big"), job, nonce.encode(), *parts])
    task = issue.task
    return Job(PYTEST.modules[-1], payload, task.timeout_seconds, LIMITS), nonce


def judge_pytest(made: Trial, outcome: Outcome, nonce: str, grade: Grade) -> Verdict:
    """Return the verdict on a job made by `pytest_job`.

    The candidate shares a process with the tests. What is checked: that the result is the listener's own, that the canary
    failed and pytest's exit code says so, and that every required test reported. A test that does not report has failed.
    """
    status, reason, passed, broken = _judge(made, outcome, nonce)
    if made.left_out and status != "resolved":
        reason = one_line(f"{reason} (changes to {', '.join(made.left_out)} were left out)")
    return Verdict(
        status=status,
        tests_passed=passed,
        tests_broken=broken,
        tests_total=len(made.required),
        reason=reason,
        seconds=outcome.seconds,
        sandbox_grade=grade,
        in_process=True,
    )


def examine(made: Trial, outcome: Outcome, nonce: str, grade: Grade) -> Examined:
    """Return how every test of a trial ended; the reason says which tests did not run."""
    tests: dict[str, str] = {}
    status: Status = "failed"
    try:
        results, uncollected = _heard(made, outcome, nonce)
        tests = {test: how for test, (how, _) in results.items()}
        reason = "".join(f"{file} could not be collected: {why}" for file, why in list(uncollected.items())[:1])
    except _NotHeardError as error:
        status, reason = error.status, error.reason
    return Examined(
        status=status,
        tests=tests,
        reason=one_line(reason),
        seconds=outcome.seconds,
        sandbox_grade=grade,
        in_process=True,
    )


def with_decoy(made: Trial, decoy: Decoy) -> Trial:
    """Return a trial of the same candidate in which tests expect other values."""
    return replace(made, tree=applied(made.tree, decoy.files))


def ends(made: Trial, outcome: Outcome, nonce: str) -> dict[str, str]:
    """Return how each test of a trial ended; nothing where the result is no honest one, or there is none."""
    try:
        results, _ = _heard(made, outcome, nonce)
    except _NotHeardError:
        return {}
    return {test: how for test, (how, _) in results.items()}


class _NotHeardError(Exception):
    """No result can be trusted, or there is none."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason


def _heard(made: Trial, outcome: Outcome, nonce: str) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return how each test ended and why, and what could not be collected, where the result is an honest one."""
    if outcome.ended != "exited":
        raise _NotHeardError(*ended_early(outcome, "while the tests ran"))
    try:
        said = json.loads(outcome.result)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.get("nonce") != nonce:
        raise _NotHeardError("failed", "the code wrote to the result channel")
    results, uncollected = _results(said["events"])
    if "" in uncollected:
        raise _NotHeardError("failed", one_line(f"the tests did not start: {uncollected['']}"))
    if made.canary not in results and made.canary.partition("::")[0] in uncollected:
        why = uncollected[made.canary.partition("::")[0]]
        raise _NotHeardError("failed", one_line(f"what lies beside the tests could not be imported: {why}"))
    if results.pop(made.canary, ("missing", ""))[0] != "failed":
        raise _NotHeardError("failed", "the tests did not run as they should: one that must fail did not")
    if said["code"] != _TESTS_FAILED:
        complaint = f"pytest ended with {said['code']} where a test failed"
        raise _NotHeardError("failed", f"the tests did not run as they should: {complaint}")
    return results, uncollected


def _judge(made: Trial, outcome: Outcome, nonce: str) -> tuple[Status, str, int, int]:
    try:
        results, uncollected = _heard(made, outcome, nonce)
    except _NotHeardError as error:
        return error.status, error.reason, 0, 0
    failed = [(test, *results.get(test, ("missing", ""))) for test in made.required]
    failed = [(test, how, why) for test, how, why in failed if how not in PASSED]
    # A skipped test says nothing new where it passed before, but is no proof of a fix.
    fixes = set(made.required[: made.fail_to_pass])
    failed = [(test, how, why) for test, how, why in failed if test in fixes or how != "skipped"]
    broken = sum(test not in fixes for test, _, _ in failed)
    passed = len(made.required) - len(failed)
    if not failed:
        return "resolved", "", passed, 0
    test, how, why = failed[0]
    file = test.partition("::")[0]
    if how == "missing" and file in uncollected:
        test, how, why = file, "uncollected", uncollected[file]
    status: Status = "out_of_memory" if why.startswith("MemoryError") else "failed"
    return status, one_line(f"{test} {_HOW[how]}{': ' + why if why else ''}"), passed, broken


_HOW = {
    "missing": "did not report",
    "uncollected": "could not be collected",
    "failed": "failed",
    "skipped": "was skipped",
    "error": "failed to set up or to tear down",
    "notrun": "was not run",
    "xpassed": "passed where it is expected to fail",
}


def _results(events: Iterable[Any]) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return how each test ended and why, and what could not be collected; anything malformed is left aside."""
    results: dict[str, tuple[str, str]] = {}
    uncollected: dict[str, str] = {}
    for event in events:
        match event:
            case ["test", str(test), str(when), str(outcome), str() | None as expected, str(message)]:
                how = _how(when, outcome, expected)
                # The worst phase counts, and a test that reports twice gets no better by it.
                if how is not None and results.get(test, ("passed", ""))[0] == "passed":
                    results[test] = (how, message)
            case ["collect", str(file), str(message)]:
                uncollected[file] = message
            case _:
                pass
    return results, uncollected


def _how(when: str, outcome: str, expected: str | None) -> str | None:
    match when, outcome:
        case "call", "passed":
            return "passed" if expected is None else "xpassed"
        case _, "skipped" if expected is not None:
            return "notrun" if "[NOTRUN]" in expected else "xfailed"
        case _, "skipped":
            return "skipped"
        case "call", _:
            return "failed"
        case _, "failed":
            return "error"
        case _:
            return None
