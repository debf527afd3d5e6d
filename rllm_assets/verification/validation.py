"""Checking issues before anybody learns from them: the fix must resolve, the buggy code must not."""

from collections.abc import Sequence
from typing import Protocol

from rllm_assets.data.issues import FunctionTask, Issue, Rejected
from rllm_assets.data.verdicts import Verdict


class ValidationError(RuntimeError):
    """Issues could not be checked at all, which says nothing about them."""


class Judging(Protocol):
    """What judges candidates."""

    def verify_many(self, jobs: Sequence[tuple[FunctionTask, str | None]]) -> list[Verdict]:
        """Judge (task, candidate) pairs, in their order."""
        ...


def validate_issues(issues: Sequence[Issue], verifier: Judging) -> tuple[list[Issue], list[Rejected]]:
    """Return the issues whose fix resolves and whose buggy code does not, and the others with the reason.

    Raises:
        ValidationError: where the sandbox gives no verdict.
    """
    tasks = [issue.task for issue in issues if isinstance(issue.task, FunctionTask)]
    fixed = verifier.verify_many([(task, task.fixed_code) for task in tasks])
    buggy = verifier.verify_many([(task, task.buggy_code) for task in tasks])
    verdicts = iter(zip(fixed, buggy, strict=True))
    kept: list[Issue] = []
    rejected: list[Rejected] = []
    for issue in issues:
        if not isinstance(issue.task, FunctionTask):
            reason = "repository tasks cannot be verified yet"
        else:
            reason = _complaint(*next(verdicts))
        if not reason:
            kept.append(issue)
            continue
        where = issue.source
        rejected.append(
            Rejected(file=where.file, line=where.line, field="task", reason=f"{issue.instance_id}: {reason}")
        )
    return kept, rejected


def _complaint(fixed: Verdict, buggy: Verdict) -> str:
    for verdict in (fixed, buggy):
        if not verdict.counts:
            raise ValidationError(f"the sandbox gave no verdict: {verdict.reason}")
    if not fixed.resolved:
        return f"the fix does not resolve it: {fixed.reason}"
    if buggy.resolved:
        return "the buggy code passes every case"
    return ""
