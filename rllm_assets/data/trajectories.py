"""Trajectories: what was tried on an issue and how it was judged.

`Step`, `Trajectory` and `Episode` carry rLLM's names and fields (rllm/types.py), so that files made of them load there.
`Attempt` is the flat row of one try, which tables hold.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rllm_assets.data.hashing import content_hash
from rllm_assets.data.verdicts import Verdict

Message = dict[str, Any]
"""One chat message: at least `role` and `content`."""

Kind = Literal["historical", "gold", "rollout"]

VerdictSource = Literal["verifier", "report", "none"]


def text_of(content: Any) -> str:
    """Return the text of a message's content: itself, or its parts' texts one after the other."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "".join(text for text in texts if isinstance(text, str))


class Step(BaseModel):
    """One call of a model and what came of it."""

    model_config = ConfigDict(extra="forbid")

    id: str = ""
    chat_completions: list[Message] = Field(
        default_factory=list, description="The messages up to and with the response."
    )
    prompt_ids: list[int] = Field(default_factory=list)
    response_ids: list[int] = Field(default_factory=list)
    logprobs: list[float] = Field(
        default_factory=list, description="The sampler's log-probability of each response token."
    )
    observation: Any = None
    thought: str = ""
    action: Any = None
    model_response: str = ""
    reward: float = 0.0
    done: bool = False
    advantage: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_logprob_a_token(self) -> "Step":
        if self.logprobs and len(self.logprobs) != len(self.response_ids):
            raise ValueError(f"{len(self.logprobs)} logprobs for {len(self.response_ids)} response tokens")
        return self


class Trajectory(BaseModel):
    """The steps of one agent on one task."""

    model_config = ConfigDict(extra="forbid")

    uid: str
    name: str = "policy"
    task: Any = None
    steps: list[Step] = Field(default_factory=list)
    reward: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class Episode(BaseModel):
    """One try at a task; `id` is ``task_id:rollout_index``."""

    model_config = ConfigDict(extra="forbid")

    id: str
    task: Any = None
    termination_reason: str | None = None
    is_correct: bool = False
    trajectories: list[Trajectory] = Field(default_factory=list)
    metrics: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


# Columns of the table that hold messages, as JSON.
_JSON_COLUMNS = ("prompt", "turns")


class Attempt(BaseModel):
    """One answer to one issue with its verdict: a row of the `trajectories` asset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance_id: str = Field(description="The issue.")
    group: str = Field(description="The issue's group: function or repository.")
    kind: Kind = Field(description="gold: the historical fix; rollout: sampled from a policy; historical: imported.")
    attempt: int = Field(ge=0, description="Which of the issue's attempts of this kind.")
    policy: str = Field(
        default="",
        description="Who answered: hash of the policy that was sampled, or the name of an endpoint's or an old run's model; "
        "empty for gold.",
    )
    prompt: list[Message] = Field(description="The messages that were answered.")
    response: str = Field(description="The answer; of one in several turns, what the policy said in all of them.")
    turns: list[Message] = Field(
        default_factory=list,
        description="Of an answer in several turns, its messages and the observations between them.",
    )
    candidate: str = Field(
        default="",
        description="What was judged where it does not simply stand in the answer, as after several turns: code, or a patch.",
    )
    response_tokens: int = Field(ge=0, description="Tokens of the answer, the end token included when it was sampled.")
    finished: bool = Field(description="Whether the answer ended by itself rather than at the length limit.")
    verdict: Verdict = Field(description="How the answer was judged.")
    verdict_source: VerdictSource = Field(
        default="verifier",
        description="verifier: judged here; report: believed, as a report or the old run's own file says; none: nobody says.",
    )
    origin: str = Field(default="", description="Of an old run: its format, its version, and file and line.")
    reward: float | None = Field(default=None, description="The reward; none without a verdict.")

    @property
    def trajectory_id(self) -> str:
        """Hash of who answered what to which issue."""
        content = [self.instance_id, self.kind, self.attempt, self.policy, self.prompt, self.response]
        return content_hash([*content, self.turns] if self.turns else content)[:16]

    @property
    def messages(self) -> list[Message]:
        """The whole conversation."""
        return [*self.prompt, *(self.turns or [{"role": "assistant", "content": self.response}])]

    def to_row(self) -> dict[str, Any]:
        """Return the row of the trajectories table."""
        return {
            **self.model_dump(exclude={"verdict", *_JSON_COLUMNS}),
            **self.verdict.model_dump(),
            **{name: json.dumps(getattr(self, name)) for name in _JSON_COLUMNS},
            "trajectory_id": self.trajectory_id,
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Attempt":
        """Return the attempt of a table row."""
        # A table that was written before a column was there has its default.
        verdict = Verdict.model_validate({name: row[name] for name in Verdict.model_fields if name in row})
        fields = {name: row[name] for name in cls.model_fields if name in row and name != "verdict"}
        fields |= {name: json.loads(row[name]) for name in _JSON_COLUMNS if name in row or name == "prompt"}
        return cls(**fields, verdict=verdict)

    def to_episode(self) -> Episode:
        """Return the attempt in rLLM's form."""
        messages = self.messages
        ends = [
            end for end in range(len(self.prompt) + 1, len(messages) + 1) if messages[end - 1]["role"] == "assistant"
        ]
        steps = [
            Step(
                id=f"{self.trajectory_id}:{number}",
                chat_completions=messages[:end],
                observation=messages[end - 2].get("content") if number else None,
                model_response=text_of(messages[end - 1].get("content")),
                reward=(self.reward or 0.0) if end == ends[-1] else 0.0,
                done=end == ends[-1],
            )
            for number, end in enumerate(ends)
        ]
        trajectory = Trajectory(
            uid=self.trajectory_id,
            task=self.instance_id,
            steps=steps,
            reward=self.reward,
            metadata={"kind": self.kind},
        )
        return Episode(
            id=f"{self.instance_id}:{self.attempt}",
            task=self.instance_id,
            termination_reason="env_done" if self.finished else "max_response_length_exceeded",
            is_correct=self.verdict.resolved,
            trajectories=[trajectory],
            metadata={"verdict": self.verdict.model_dump(exclude={"seconds"})},
        )
