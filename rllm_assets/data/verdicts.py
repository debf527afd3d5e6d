"""The record of how a candidate fix was judged."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["resolved", "failed", "timeout", "out_of_memory", "invalid_patch", "no_verdict"]


class Verdict(BaseModel):
    """One judgement of one candidate; `no_verdict` means that the infrastructure failed and says nothing of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Status = Field(description="How the judgement ended.")
    tests_passed: int = Field(default=0, ge=0, description="Cases or required tests that passed.")
    tests_broken: int = Field(
        default=0, ge=0, description="Tests of PASS_TO_PASS that the candidate broke; repository tasks only."
    )
    tests_total: int = Field(default=0, ge=0, description="Cases or required tests in all.")
    reason: str = Field(default="", description="One line for a person: which test failed first and how.")
    seconds: float = Field(default=0.0, ge=0, description="Wall time in the sandbox; never part of a content hash.")
    sandbox_grade: str = Field(default="none", description="How strong the sandbox was: strong, gvisor, weak or none.")
    in_process: bool = Field(
        default=False, description="Judged by tests in the candidate's own process, which hostile code can forge."
    )

    @property
    def resolved(self) -> bool:
        """Whether every case passed."""
        return self.status == "resolved"

    @property
    def counts(self) -> bool:
        """Whether the verdict says something about the candidate; one that does not is masked from training and statistics."""
        return self.status != "no_verdict"


class Examined(Verdict):
    """What came of running tests to find out which of them decide; it says nothing of a candidate."""

    tests: dict[str, str] = Field(
        default_factory=dict, description="How each test ended: passed, or in some other way."
    )
