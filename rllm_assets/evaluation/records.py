"""What an evaluation says."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EvaluationError(RuntimeError):
    """There is nothing to evaluate on, or no verdicts; the message says why."""


PolicyName = Literal["base", "warm_start", "lora"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IssueResult(_Record):
    """One policy on one held-out issue."""

    policy: PolicyName
    instance_id: str
    group: str
    labels: list[str]
    samples: int = Field(description="Answers that got a verdict.")
    resolved: int = Field(description="Of those, how many resolved the issue.")
    format_valid: int = Field(description="Answers from which a candidate could be read.")
    no_verdict: int = Field(description="Answers that the infrastructure gave no verdict on.")
    in_process: bool = Field(
        default=False, description="Whether a verdict was given by tests that a candidate could forge."
    )
    sandbox_grade: str = Field(default="none", description="How strong the sandbox was.")
    tokens: int = Field(description="Tokens of all answers.")
    greedy_resolved: bool | None = Field(default=None, description="Whether the greedy answer resolves it.")
    answer: str = Field(default="", description="The greedy answer, or the first sample.")

    @property
    def pass_rate(self) -> float:
        """Share of the answers that resolve the issue."""
        return self.resolved / self.samples if self.samples else 0.0


class PolicyScores(_Record):
    """One policy on all held-out issues."""

    pass_at_1: float
    pass_at_1_low: float
    pass_at_1_high: float
    pass_at_k: dict[int, float]
    greedy: float | None
    format_rate: float
    no_verdict_rate: float
    tokens_per_answer: float


class Difference(_Record):
    """How much better one policy is than another."""

    points: float = Field(description="Difference of pass@1.")
    low: float
    high: float
    p_value: float = Field(description="One-sided, by a paired bootstrap over groups.")
    greedy_p_value: float | None = Field(description="McNemar's exact test on the greedy answers, two-sided.")


class Report(_Record):
    """The comparison of a LoRA with its untouched base on issues that nothing before has read."""

    benchmark: str
    issues: int
    groups: int
    samples: int
    temperature: float
    scores: dict[PolicyName, PolicyScores]
    lora_over_base: Difference
    lora_over_warm_start: Difference | None = Field(
        default=None, description="What reinforcement adds to the warm start."
    )
    sandbox_grade: str
    in_process_share: float = Field(description="Share of issues with verdicts that a candidate could forge.")


class Gate(_Record):
    """Whether a checkpoint may be deployed, and why not."""

    name: str
    passed: bool
    reasons: list[str]


def require_adapter(path: Path) -> None:
    """Raise where a directory holds no adapter.

    Raises:
        EvaluationError: naming the file that is not there.
    """
    if not (path / "adapter_model.safetensors").is_file():
        raise EvaluationError(f"{path} holds no adapter: adapter_model.safetensors is not there")
