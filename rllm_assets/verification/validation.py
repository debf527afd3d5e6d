"""Checking issues before anybody learns from them: the fix must resolve, the buggy code must not."""

from collections.abc import Sequence
from typing import Protocol

from rllm_assets.data.issues import FunctionTask, Issue, Rejected
from rllm_assets.data.repositories import TaskError, repository_of
from rllm_assets.data.verdicts import Verdict
from rllm_assets.verification.discovery import Discovery, discover_tests
from rllm_assets.verification.environments import BuildError, IndexUnreachableError, environment_of
from rllm_assets.verification.repositories import Examination, test_files

# The label of issues whose tests all fail without the fix: most often a module that cannot be imported yet.
LOW_QUALITY = "no PASS_TO_PASS"


class ValidationError(RuntimeError):
    """Issues could not be checked at all, which says nothing about them."""


class Judging(Protocol):
    """What judges candidates."""

    def verify_many(self, jobs: Sequence[tuple[Issue | Examination, str | None]]) -> list[Verdict]:
        """Judge (issue, candidate) pairs, in their order."""
        ...


def validate_issues(issues: Sequence[Issue], verifier: Judging) -> tuple[list[Issue], list[Rejected]]:
    """Return the issues whose fix resolves and whose buggy code does not, and the others with the reason.

    The tests of repositories are run several times: those that can be relied on are the kept issue's FAIL_TO_PASS and
    PASS_TO_PASS, among those that it came with, or all of its test files where it came with none.

    Raises:
        ValidationError: where the sandbox gives no verdict, or the package index does not answer.
    """
    functions = [issue for issue in issues if isinstance(issue.task, FunctionTask)]
    judged = {
        **dict(zip((i.instance_id for i in functions), _judged(functions, verifier), strict=True)),
        **_with_tests([issue for issue in issues if not isinstance(issue.task, FunctionTask)], verifier),
    }
    results = [judged[issue.instance_id] for issue in issues]
    return [r for r in results if isinstance(r, Issue)], [r for r in results if isinstance(r, Rejected)]


def _judged(issues: Sequence[Issue], verifier: Judging) -> list[Issue | Rejected]:
    fixed = verifier.verify_many([(issue, _task(issue).fixed_code) for issue in issues])
    buggy = verifier.verify_many([(issue, _task(issue).buggy_code) for issue in issues])
    results: list[Issue | Rejected] = []
    for issue, *verdicts in zip(issues, fixed, buggy, strict=True):
        complaint = _complaint(*verdicts)
        results.append(_rejected(issue, complaint[0], "task", complaint[1]) if complaint else issue)
    return results


def _with_tests(issues: Sequence[Issue], verifier: Judging) -> dict[str, Issue | Rejected]:
    results: dict[str, Issue | Rejected] = {}
    ready: list[Issue] = []
    failed: dict[str, BuildError] = {}
    for issue in issues:
        try:
            test_files(issue, repository_of(issue))
            environment_of(issue, failed)
            ready.append(issue)
        except TaskError as error:
            results[issue.instance_id] = _rejected(issue, "environment", "task", str(error))
        except IndexUnreachableError as error:
            raise ValidationError(str(error)) from None
    for issue, found in zip(ready, discover_tests(ready, verifier), strict=True):
        if isinstance(found, Verdict):
            raise ValidationError(f"the sandbox gave no verdict: {found.reason}")
        results[issue.instance_id] = _reliable(issue, found)
    return results


def _reliable(issue: Issue, found: Discovery) -> Issue | Rejected:
    if found.problem:
        return _rejected(
            issue, found.category, "patch" if found.category == "does_not_apply" else "test_patch", found.problem
        )
    fail_to_pass, pass_to_pass = list(found.fail_to_pass), list(found.pass_to_pass)
    if issue.FAIL_TO_PASS:
        given = set(issue.FAIL_TO_PASS) | set(issue.PASS_TO_PASS)
        fail_to_pass, pass_to_pass = ([t for t in tests if t in given] for tests in (fail_to_pass, pass_to_pass))
        if not set(fail_to_pass) & set(issue.FAIL_TO_PASS):
            reason = f"none of its FAIL_TO_PASS fails before and passes after the fix: {issue.FAIL_TO_PASS[0]}"
            return _rejected(issue, "no_failing_test", "FAIL_TO_PASS", reason)
    labels = [*issue.labels, *([] if pass_to_pass else [LOW_QUALITY])]
    return issue.model_copy(update={"FAIL_TO_PASS": fail_to_pass, "PASS_TO_PASS": pass_to_pass, "labels": labels})


def _rejected(issue: Issue, category: str, field: str, reason: str) -> Rejected:
    said = reason if issue.instance_id in reason else f"{issue.instance_id}: {reason}"
    return Rejected(file=issue.source.file, line=issue.source.line, field=field, category=category, reason=said)


def _task(issue: Issue) -> FunctionTask:
    assert isinstance(issue.task, FunctionTask)
    return issue.task


def _complaint(fixed: Verdict, buggy: Verdict) -> tuple[str, str] | None:
    for verdict in (fixed, buggy):
        if not verdict.counts:
            raise ValidationError(f"the sandbox gave no verdict: {verdict.reason}")
    if not fixed.resolved:
        return "unresolved", f"the fix does not resolve it: {fixed.reason}"
    if buggy.resolved:
        return "no_failing_test", "the buggy code passes every case"
    return None
