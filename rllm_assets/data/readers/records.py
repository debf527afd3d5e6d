"""What an imported run is: its messages, its steps, and what the file said besides."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rllm_assets.data.issues import Rejected, first_error
from rllm_assets.data.trajectories import Episode, Message, Step, Trajectory, text_of

Range = list[int]
"""Two places among the messages: the first, and the one after the last."""

# rLLM's reasons (rllm/types.py, TerminationReason) for how the agents say that a run ended.
_REASONS: Mapping[str, str] = {
    "submitted": "env_done",
    "submit": "env_done",
    "finish": "env_done",
    "exit_forfeit": "env_done",
    "exit_context": "max_prompt_length_exceeded",
    "contextwindowexceedederror": "max_prompt_length_exceeded",
    "exit_cost": "max_turns_exceeded",
    "limitsexceeded": "max_turns_exceeded",
    "max_iterations": "max_turns_exceeded",
    "exit_total_execution_time": "timeout",
    "exit_command_timeout": "timeout",
    "timeexceeded": "timeout",
    "exit_format": "error",
    "exit_api": "error",
    "exit_error": "error",
    "exit_environment_error": "error",
    "repeatedformaterror": "error",
    "error": "error",
}


class UnreadableError(ValueError):
    """A value that is of a known format, but broken; says which field is wrong and how."""

    def __init__(self, name: str, reason: str) -> None:
        """Bind the path of the field and the reason."""
        super().__init__(f"{name}: {reason}" if name else reason)
        self.field = name
        self.reason = reason


# Not frozen: there are millions of them, and a frozen one takes three times as long to make.
@dataclass(slots=True)
class ImportedStep:
    """One call of a model.

    Attributes:
        message: place of the answer among the messages; None for one that the run did not keep there, such as an answer
            that its parser refused.
        response: the text of such an answer.
        prompt: what the model was given, where that is not simply every message before the answer: ranges of messages, and
            messages that stand nowhere else, such as an observation that was cut for this call.
        thought: what the run took as the reasoning of the answer.
        action: what the run took as its action.
        observation: what came of the action, before it was put into a message.
        extra: whatever else the format says of the step.
    """

    message: int | None
    response: str = ""
    prompt: list[Range | Message] | None = None
    thought: str = ""
    action: Any = None
    observation: Any = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether a step says nothing but which message answers, given all messages before it."""
        is_said = self.response or self.thought or self.extra
        return not is_said and self.prompt is None and self.action is None and self.observation is None


@dataclass(frozen=True, slots=True)
class ImportedTrajectory:
    """One run of an agent, read from a file of any format.

    Attributes:
        format: which reader read it.
        version: which of the format's shapes it had.
        messages: the conversation in OpenAI's form, every message of the file; what a format adds to a message is in
            the message's `extra`.
        steps: the calls of the model, in their order.
        instance_id: the issue; empty where the file does not say.
        tools: definitions of the tools that the model was given.
        model: the model's name.
        patch: what the run submitted; empty for nothing.
        exit_status: how the run ended, in the format's own words.
        resolved: whether tests found the issue solved; None where nobody says.
        stats: numbers of the run: `cost` in dollars, `calls`, `prompt_tokens`, `completion_tokens`.
        redactions: how many secrets were replaced, by kind.
        file: name of the file.
        line: line in that file, or place where it has no lines; None where the file is this one run.
        extra: every field of the file that has no place above.
    """

    format: str
    version: str
    messages: list[Message]
    steps: list[ImportedStep]
    instance_id: str = ""
    tools: list[Any] = field(default_factory=list)
    model: str = ""
    patch: str = ""
    exit_status: str = ""
    resolved: bool | None = None
    stats: dict[str, Any] = field(default_factory=dict)
    redactions: dict[str, int] = field(default_factory=dict)
    file: str = ""
    line: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def prompt(self, step: ImportedStep) -> list[Message]:
        """Return the messages that the model was given in a step."""
        if step.prompt is None:
            return self.messages[: step.message]
        prompt: list[Message] = []
        for part in step.prompt:
            if isinstance(part, dict):
                prompt.append(part)
            else:
                prompt += self.messages[part[0] : part[1]]
        return prompt

    def answer(self, step: ImportedStep) -> Message:
        """Return the message that the model answered with in a step."""
        if step.message is None:
            return {"role": "assistant", "content": step.response}
        return self.messages[step.message]

    @property
    def termination_reason(self) -> str:
        """How the run ended, in rLLM's words: ``unknown`` for words that are not known, nothing where it does not say."""
        return _REASONS.get(self.exit_status.split(" ")[0].lower(), "unknown") if self.exit_status else ""

    def to_chat_row(self) -> dict[str, Any]:
        """Return the run as a row of chat JSONL: `messages`, and whatever else is known of it; `from_chat_row` reverses it."""
        row: dict[str, Any] = {"instance_id": self.instance_id, "messages": self.messages}
        for name in ("tools", "model", "patch", "exit_status", "stats", "redactions", "extra"):
            if value := getattr(self, name):
                row[name] = value
        if self.resolved is not None:
            row["resolved"] = self.resolved
        if not _are_answers(self.steps, self.messages):
            row["steps"] = [_step_row(step) for step in self.steps]
        row["origin"] = {"format": self.format, "version": self.version, "file": self.file, "line": self.line}
        return row

    def to_episode(self, attempt: int = 0) -> Episode:
        """Return the run in rLLM's form. Each step carries the messages up to its answer: the size grows with their square."""
        reward = None if self.resolved is None else float(self.resolved)
        key = self.instance_id or self.file
        steps = [
            Step(
                id=f"{key}:{attempt}:{place}",
                chat_completions=[*self.prompt(step), self.answer(step)],
                thought=step.thought,
                action=step.action,
                observation=step.observation,
                model_response=text_of(self.answer(step).get("content")),
                reward=(reward or 0.0) if place == len(self.steps) - 1 else 0.0,
                done=place == len(self.steps) - 1,
                metadata=step.extra,
            )
            for place, step in enumerate(self.steps)
        ]
        trajectory = Trajectory(
            uid=f"{key}:{attempt}",
            name=self.model or "policy",
            task=self.instance_id,
            steps=steps,
            reward=reward,
            metadata={"format": self.format, "version": self.version, "file": self.file, "line": self.line},
        )
        return Episode(
            id=f"{self.instance_id}:{attempt}",
            task=self.instance_id,
            termination_reason=self.termination_reason or "unknown",
            is_correct=self.resolved is True,
            trajectories=[trajectory],
            metrics=self.stats,
            metadata={"patch": self.patch, "exit_status": self.exit_status},
        )


_ORIGIN = frozenset(("format", "version", "file", "line"))
_ROW_FIELDS = ("instance_id", "tools", "model", "patch", "exit_status", "stats", "redactions", "extra", "resolved")


def is_chat_row(row: Mapping[str, Any]) -> bool:
    """Whether a row is one that `to_chat_row` made."""
    origin = row.get("origin")
    return isinstance(origin, dict) and origin.keys() == _ORIGIN and "messages" in row and "instance_id" in row


def from_chat_row(row: Mapping[str, Any]) -> ImportedTrajectory:
    """Return the run of a row that `to_chat_row` made, whose messages are checked.

    Raises:
        UnreadableError: where a field has no value that `to_chat_row` writes.
    """
    messages, count = row["messages"], len(row["messages"])
    values = {**row["origin"], **{name: row[name] for name in _ROW_FIELDS if name in row}}
    _check(ImportedTrajectory, values, "")
    raw_steps = row.get("steps")
    if raw_steps is None:
        return ImportedTrajectory(messages=messages, steps=answers(messages), **values)
    if not isinstance(raw_steps, list):
        raise UnreadableError("steps", f"a list of steps is expected, not a {type(raw_steps).__name__}")
    steps: list[ImportedStep] = []
    for place, raw in enumerate(raw_steps):
        if not isinstance(raw, dict):
            raise UnreadableError(f"steps.{place}", f"a step is expected, not a {type(raw).__name__}")
        _check(ImportedStep, raw, f"steps.{place}.")
        steps.append(ImportedStep(**{"message": None, **raw}))
        if not _fits(steps[-1], count):
            raise UnreadableError(f"steps.{place}", f"it is of messages that the row has not; there are {count}")
    return ImportedTrajectory(messages=messages, steps=steps, **values)


def _check(kind: type, values: Mapping[str, Any], prefix: str) -> None:
    """Check that values are of the types that the fields of a record have."""
    types = _types(kind)
    for name, value in values.items():
        if name not in types:
            raise UnreadableError(f"{prefix}{name}", f"no such field; known are {', '.join(types)}")
        try:
            types[name].validate_python(value, strict=True)
        except ValidationError as error:
            raise UnreadableError(f"{prefix}{name}", first_error(error)[1]) from None


@functools.cache
def _types(kind: type) -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(kind).items()}


def _fits(step: ImportedStep, count: int) -> bool:
    ranges = [part for part in step.prompt or () if isinstance(part, list)]
    if not all(len(part) == 2 and 0 <= part[0] <= part[1] <= count for part in ranges):
        return False
    return step.message is None or 0 <= step.message < count


def with_resolved(
    found: Iterable[ImportedTrajectory | Rejected], resolved: Mapping[str, bool | None]
) -> Iterator[ImportedTrajectory | Rejected]:
    """Yield runs with what reports say of their issues; where they say nothing, what the file said stays.

    What was rejected goes through.
    """
    for each in found:
        verdict = resolved.get(each.instance_id) if isinstance(each, ImportedTrajectory) else None
        yield replace(each, resolved=verdict) if verdict is not None and isinstance(each, ImportedTrajectory) else each


def answers(messages: list[Message]) -> list[ImportedStep]:
    """Return the steps of a conversation in which each message of the assistant is one call of the model."""
    return [ImportedStep(place) for place, message in enumerate(messages) if message.get("role") == "assistant"]


def _are_answers(steps: list[ImportedStep], messages: list[Message]) -> bool:
    """Whether steps are what `answers` makes of messages."""
    plain = iter(steps)
    for place, message in enumerate(messages):
        if message.get("role") == "assistant":
            step = next(plain, None)
            if step is None or step.message != place or not step.is_plain:
                return False
    return next(plain, None) is None


def _step_row(step: ImportedStep) -> dict[str, Any]:
    """Return what a step has beyond its defaults."""
    plain = ImportedStep(step.message)
    told = (item.name for item in fields(step) if getattr(step, item.name) != getattr(plain, item.name))
    return {"message": step.message, **{name: getattr(step, name) for name in told}}
