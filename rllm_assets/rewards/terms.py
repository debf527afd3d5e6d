"""Reward terms: pure functions from a judged answer to a number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rllm_assets.data.issues import Issue
from rllm_assets.data.verdicts import Verdict


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
    """Share of the cases that pass; 0 for an answer that could not be run."""
    total = judged.verdict.tests_total
    return judged.verdict.tests_passed / total if total else 0.0


def answer_format(judged: Judged) -> float:
    """1 when a candidate could be read out of the answer, else 0."""
    return float(judged.candidate is not None)


def length(judged: Judged) -> float:
    """Soft overlong penalty (DAPO, arXiv 2503.14476, eq. 13): 0 up to four fifths of the limit, then linearly down to -1."""
    window = judged.max_tokens / 5
    excess = judged.tokens - (judged.max_tokens - window)
    return -min(1.0, max(0.0, excess / window))


TERMS: Mapping[str, Term] = {
    "resolved": resolved,
    "tests_passed": tests_passed,
    "format": answer_format,
    "length": length,
}
