"""Trajectories of SWE-agent (``.traj``): 0.x, 1.0, 1.1 and later, and demonstrations.

The shapes are those that sweagent/agent/agents.py writes (`get_trajectory_data`, `add_step_to_trajectory`). `history` is the
conversation as the run kept it. A step also says what its call was given: from 1.1 on as `query`; 1.0 wrote as
`messages` what the *next* call would be given. Processors shorten old observations there, so that it is not simply the
history before the answer.
"""

from collections.abc import Mapping
from typing import Any

from rllm_assets.data.json_text import parse_json
from rllm_assets.data.readers.messages import chat_message, checked
from rllm_assets.data.readers.records import ImportedStep, ImportedTrajectory, Range, UnreadableError, answers, text_of
from rllm_assets.data.trajectories import Message

FORMAT = "swe-agent"

_TOP = frozenset(("instance_id", "history", "trajectory", "info", "attempts"))
_STEP = frozenset(("action", "observation", "response", "thought", "query", "messages"))
# What a processor marks for the provider's cache is no part of what was said.
_MARKS = ("cache_control",)


def matches(value: Mapping[str, Any]) -> bool:
    """Whether a value is one of SWE-agent's: by its steps, by its history of messages, or by its attempts."""
    steps, history, attempts = value.get("trajectory"), value.get("history"), value.get("attempts")
    if isinstance(steps, list) and steps and isinstance(steps[0], dict):
        return "action" in steps[0] and "observation" in steps[0]
    if isinstance(history, list) and history and isinstance(history[0], dict):
        return "role" in history[0]
    if isinstance(attempts, list) and attempts and isinstance(attempts[0], dict):
        return "trajectory" in attempts[0] or "history" in attempts[0]
    return "info" in value and "history" in value and "trajectory" in value


def read(value: Mapping[str, Any], name: str) -> list[ImportedTrajectory]:
    """Return the runs of a file: one, or, of an agent that retries, one for each attempt, the chosen one first.

    Args:
        value: the file's content.
        name: the file's name without its ending, which is the issue's id where nothing else says it.

    Raises:
        UnreadableError: naming the field that is wrong.
    """
    attempts = value.get("attempts")
    if not isinstance(attempts, list) or not attempts:
        return [_run(value, name)]
    best = _info(value).get("best_attempt_idx", 0 if "history" in value else None)
    order = sorted(range(len(attempts)), key=lambda place: place != best)
    runs: list[ImportedTrajectory] = []
    for place in order:
        attempt = attempts[place]
        if not isinstance(attempt, dict):
            raise UnreadableError(f"attempts.{place}", f"an attempt is expected, not a {type(attempt).__name__}")
        run = _run(attempt, name)
        run.extra["attempt"] = place
        if place == best:
            # The top level repeats the chosen attempt, with the totals of all.
            run.extra["chosen"] = True
            run.extra["total"] = {
                key: item for key, item in value.items() if key not in ("history", "trajectory", "attempts")
            }
        runs.append(run)
    return runs


def _run(value: Mapping[str, Any], name: str) -> ImportedTrajectory:
    raw_steps = value.get("trajectory")
    if raw_steps is not None and not isinstance(raw_steps, list):
        raise UnreadableError("trajectory", f"a list of steps is expected, not a {type(raw_steps).__name__}")
    for place, step in enumerate(raw_steps or []):
        if not isinstance(step, dict):
            raise UnreadableError(f"trajectory.{place}", f"a step is expected, not a {type(step).__name__}")
        for key in ("response", "thought"):
            if not isinstance(step.get(key), str | None):
                raise UnreadableError(
                    f"trajectory.{place}.{key}", f"a text is expected, not a {type(step[key]).__name__}"
                )
    history = value.get("history") or _history_of(raw_steps or [])
    messages = checked([_message(item) for item in history] if _are_messages(history) else history, "history")
    steps = _demonstrated(messages) if not raw_steps else _Steps(messages, history, raw_steps).read()
    info = _info(value)
    stats = info.get("model_stats")
    config = _config(value.get("replay_config"))
    extra: dict[str, Any] = {key: item for key, item in value.items() if key not in _TOP and item is not None}
    if config:
        extra["replay_config"] = config
    if rest := {key: item for key, item in info.items() if key not in ("submission", "exit_status", "model_stats")}:
        extra["info"] = rest
    if raw_steps and (after := _after(history, raw_steps[-1])):
        extra["shown_after"] = after
    return ImportedTrajectory(
        format=FORMAT,
        version=_version(raw_steps),
        messages=messages,
        steps=steps,
        # A row of many says itself which issue it is about, and what became of it.
        instance_id=str(value.get("instance_id") or _at(config, "problem_statement", "id") or name),
        resolved=said if isinstance(said := value.get("resolved"), bool) else None,
        model=str(_at(config, "agent", "model", "name") or ""),
        patch=str(info.get("submission") or ""),
        exit_status=str(info.get("exit_status") or ""),
        stats=_stats(stats if isinstance(stats, dict) else {}),
        extra=extra,
    )


def _info(value: Mapping[str, Any]) -> Mapping[str, Any]:
    info = value.get("info")
    if info is not None and not isinstance(info, dict):
        raise UnreadableError("info", f"an object is expected, not a {type(info).__name__}")
    return info or {}


def _version(steps: list[Any] | None) -> str:
    if not steps:
        return "demonstration"
    if any("query" in step for step in steps):
        return "1.1"
    return "1.0" if any("messages" in step for step in steps) else "0.x"


def _config(config: Any) -> dict[str, Any]:
    """Return what a run can be repeated with, which 1.0 wrote as JSON text in the JSON."""
    if isinstance(config, str):
        try:
            config = parse_json(config.encode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            return {"text": config}
    return config if isinstance(config, dict) else {}


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _stats(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return SWE-agent's numbers under common names, and those without one under their own."""
    names = {
        "instance_cost": "cost",
        "tokens_sent": "prompt_tokens",
        "tokens_received": "completion_tokens",
        "api_calls": "calls",
    }
    return {names.get(key, key): value for key, value in stats.items()}


def _are_messages(history: Any) -> bool:
    return isinstance(history, list) and all(isinstance(item, dict) for item in history)


def _message(item: Mapping[str, Any]) -> Message:
    ids = item.get("tool_call_ids")
    if isinstance(ids, list) and len(ids) == 1 and "tool_call_id" not in item:
        return chat_message({**item, "tool_call_id": ids[0]}, dropped=("tool_call_ids",))
    return chat_message(item)


def _history_of(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the conversation of a file without history: what the last step shows of it, or answers and observations."""
    if not steps:
        return []
    last = steps[-1]
    if isinstance(last.get("query"), list):
        answer = {"role": "assistant", "content": last.get("response", "")}
        return [*last["query"], answer, {"role": "user", "content": last.get("observation") or ""}]
    if isinstance(last.get("messages"), list):
        return last["messages"]
    said: list[dict[str, Any]] = []
    for step in steps:
        said.append({"role": "assistant", "content": step.get("response") or ""})
        said.append({"role": "user", "content": step.get("observation") or ""})
    return said


def _demonstrated(messages: list[Message]) -> list[ImportedStep]:
    """Return the steps of a history alone, which keeps thought and action on its messages."""
    steps: list[ImportedStep] = []
    for step in answers(messages):
        extra = messages[step.message or 0].get("extra") or {}
        if not extra.get("is_demo"):
            thought = extra.get("thought")
            step.thought = thought if isinstance(thought, str) else ""
            step.action = extra.get("action")
            steps.append(step)
    return steps


class _Steps:
    """The steps of a run set beside its messages. An answer that is missing at the end of the history is added to it."""

    def __init__(self, messages: list[Message], history: list[Any], raw_steps: list[dict[str, Any]]) -> None:
        self._messages = messages
        self._history = history
        self._raw = raw_steps
        self._answers = [place for place, item in enumerate(history) if _is_answer(item)]

    def read(self) -> list[ImportedStep]:
        """Return the steps in their order, and add to the messages the answers that the history ends without."""
        steps: list[ImportedStep] = []
        place = 0
        for number, raw in enumerate(self._raw):
            text = raw.get("response") or ""
            left, answered = len(self._raw) - number, self._answers[place:]
            if not answered:
                message = len(self._messages)
                self._messages.append({"role": "assistant", "content": text})
            elif (ahead := self._ahead(text, answered, left)) is not None:
                message = answered[ahead]
                place += ahead + 1
            else:
                message = None
            following = answered[0] if answered else len(self._messages)
            steps.append(self._step(number, raw, message, following))
        return steps

    def _ahead(self, text: str, answered: list[int], left: int) -> int | None:
        """Return which of the answers that are left is a step's: the first with its text that leaves no step without an answer.

        Demonstrations were edited by hand, so where there are as many answers as steps left, the next one is it anyhow.
        """
        for ahead, place in enumerate(answered[: max(len(answered) - left, 0) + 1]):
            if text_of(self._history[place].get("content")) == text:
                return ahead
        return 0 if left <= len(answered) else None

    def _step(self, number: int, raw: dict[str, Any], message: int | None, following: int) -> ImportedStep:
        """Return a step; `following` is the next answer in the history, before which one that was refused was given."""
        text = raw.get("response") or ""
        extra = {key: item for key, item in raw.items() if key not in _STEP and item not in (None, {}, "")}
        thought, action = raw.get("thought") or "", raw.get("action")
        if message is not None:
            kept = self._messages[message].get("extra") or {}
            # Said once: the step has it.
            for key, value in (("thought", thought), ("action", action)):
                if kept.get(key) == value:
                    kept.pop(key, None)
            if text and text_of(self._messages[message].get("content")) != text:
                extra["response"] = text
        given = raw.get("query") if "query" in raw else self._raw[number - 1].get("messages") if number else None
        prompt: list[Range | Message] | None = None
        if isinstance(given, list):
            prompt = _shown(self._history, given)
        if message is None and prompt is None:
            prompt = [[0, following]]
        if prompt == [[0, message]]:
            prompt = None
        return ImportedStep(
            message=message,
            response=text if message is None else "",
            prompt=prompt,
            thought=thought,
            action=action,
            observation=raw.get("observation"),
            extra=extra,
        )


def _is_answer(item: Mapping[str, Any]) -> bool:
    return item.get("role") == "assistant" and not item.get("is_demo")


def _after(history: list[Any], last: Mapping[str, Any]) -> list[Range | Message] | None:
    """Return what 1.0 wrote of the call after the last, where it differs from the history."""
    given = last.get("messages")
    shown = _shown(history, given) if isinstance(given, list) else None
    return None if shown is None or all(isinstance(part, list) for part in shown) else shown


def _shown(history: list[Any], given: list[Any]) -> list[Range | Message]:
    """Return what a call was given as ranges of messages, and as itself where a processor changed it."""
    shown: list[Range | Message] = []
    agent = next((item.get("agent") for item in given if isinstance(item, dict)), None)
    # Each agent of a run sees its own part of the history.
    own = [place for place, item in enumerate(history) if agent is None or item.get("agent", agent) == agent]
    for number, item in enumerate(given):
        if not isinstance(item, dict):
            raise UnreadableError("query", f"a message is expected, not a {type(item).__name__}")
        place = own[number] if number < len(own) else None
        if place is None or not _same(item, history[place]):
            shown.append(_message(item))
        elif shown and isinstance(shown[-1], list) and shown[-1][1] == place:
            shown[-1][1] = place + 1
        else:
            shown.append([place, place + 1])
    return shown


def _same(item: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    if item is kept or item == kept:
        return True
    if item.get("role") != kept.get("role") or item.get("tool_calls") != kept.get("tool_calls"):
        return False
    return _plain(item.get("content")) == _plain(kept.get("content"))


def _plain(content: Any) -> Any:
    """Return content without marks for the cache; one text in a list is that text."""
    if not isinstance(content, list):
        return content
    bare = [{k: v for k, v in part.items() if k not in _MARKS} if isinstance(part, dict) else part for part in content]
    if len(bare) == 1 and isinstance(bare[0], dict) and bare[0].keys() == {"type", "text"}:
        return bare[0]["text"]
    return bare
