"""Reward terms: pure functions from a judged answer to a number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rllm_assets.data.issues import FunctionTask, Issue
from rllm_assets.data.verdicts import Verdict
from rllm_assets.rewards.edits import edits_of
from rllm_assets.rewards.quality import findings_on_changed_lines
from rllm_assets.rewards.similarity import similarity


@dataclass(frozen=True)
class Judged:
    """An answer with everything that a term may look at; lengths are in tokens."""

    issue: Issue
    response: str
    candidate: str | None
    verdict: Verdict
    tokens: int
    max_tokens: int
    finished: bool


Term = Callable[[Judged], float]


def resolved(judged: Judged) -> float:
    """1 when every case passes, else 0: DeepCoder's sparse reward (together.ai/blog/deepcoder)."""
    return float(judged.verdict.resolved)


def tests_passed(judged: Judged) -> float:
    """Share of the cases that pass, of a repository's tests those of FAIL_TO_PASS, and 0 where one of PASS_TO_PASS breaks.

    0 for an answer that could not be run.
    """
    verdict, kept = judged.verdict, len(judged.issue.PASS_TO_PASS)
    if isinstance(judged.issue.task, FunctionTask):
        return verdict.tests_passed / verdict.tests_total if verdict.tests_total else 0.0
    to_fix = verdict.tests_total - kept
    return 0.0 if verdict.tests_broken or to_fix <= 0 else max(0, verdict.tests_passed - kept) / to_fix


def answer_format(judged: Judged) -> float:
    """1 when a candidate could be read out of the answer, else 0."""
    return float(judged.candidate is not None)


def length(judged: Judged) -> float:
    """Soft overlong penalty (DAPO, arXiv 2503.14476, eq. 13): 0 up to four fifths of the limit, then linearly down to -1."""
    window = judged.max_tokens / 5
    excess = judged.tokens - (judged.max_tokens - window)
    return -min(1.0, max(0.0, excess / window))


def patch_similarity(judged: Judged) -> float:
    """How alike the candidate's change and the historical one are, 0 to 1, and -1 where there is no change to compare.

    The reward of SWE-RL (arXiv 2502.18449, section 2.2), which runs nothing: it can be earned by code that does not work.
    """
    edits = edits_of(judged.issue, judged.candidate)
    return -1.0 if edits is None else similarity(edits.candidate, edits.gold)


def code_quality(judged: Judged) -> float:
    """1 less the findings of ruff for each changed line, at least 0; 0 where there is no change."""
    edits = edits_of(judged.issue, judged.candidate)
    if edits is None:
        return 0.0
    findings, lines = findings_on_changed_lines(edits.candidate)
    return max(0.0, 1.0 - findings / lines) if lines else 0.0


TERMS: Mapping[str, Term] = {
    "resolved": resolved,
    "tests_passed": tests_passed,
    "format": answer_format,
    "length": length,
    "patch_similarity": patch_similarity,
    "code_quality": code_quality,
}
