"""Checking issues before anybody learns from them: the fix must resolve, the buggy code must not."""

from collections.abc import Sequence
from typing import Protocol

from rllm_assets.data.issues import FunctionTask, Issue, Rejected
from rllm_assets.data.verdicts import Verdict
from rllm_assets.verification.changes import UNCHANGED


class ValidationError(RuntimeError):
    """Issues could not be checked at all, which says nothing about them."""


class Judging(Protocol):
    """What judges candidates."""

    def verify_many(self, jobs: Sequence[tuple[Issue, str | None]]) -> list[Verdict]:
        """Judge (issue, candidate) pairs, in their order."""
        ...


def validate_issues(issues: Sequence[Issue], verifier: Judging) -> tuple[list[Issue], list[Rejected]]:
    """Return the issues whose fix resolves and whose buggy code does not, and the others with the reason.

    Raises:
        ValidationError: where the sandbox gives no verdict.
    """
    fixed = verifier.verify_many([(issue, _fix(issue)) for issue in issues])
    buggy = verifier.verify_many([(issue, _bug(issue)) for issue in issues])
    kept: list[Issue] = []
    rejected: list[Rejected] = []
    for issue, *verdicts in zip(issues, fixed, buggy, strict=True):
        reason = _complaint(*verdicts)
        if not reason:
            kept.append(issue)
            continue
        where = issue.source
        rejected.append(
            Rejected(file=where.file, line=where.line, field="task", reason=f"{issue.instance_id}: {reason}")
        )
    return kept, rejected


def _fix(issue: Issue) -> str:
    return issue.task.fixed_code if isinstance(issue.task, FunctionTask) else issue.patch


def _bug(issue: Issue) -> str:
    return issue.task.buggy_code if isinstance(issue.task, FunctionTask) else UNCHANGED


def _complaint(fixed: Verdict, buggy: Verdict) -> str:
    for verdict in (fixed, buggy):
        if not verdict.counts:
            raise ValidationError(f"the sandbox gave no verdict: {verdict.reason}")
    if not fixed.resolved:
        return f"the fix does not resolve it: {fixed.reason}"
    if buggy.resolved:
        return "the buggy code passes every case"
    return ""
