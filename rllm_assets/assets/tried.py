"""What the metadata of `trajectories` says of attempts: pass@k, how often each issue was solved, and examples to read."""

import re
from collections.abc import Iterator, Mapping, Sequence

from rllm_assets.data.trajectories import Attempt, Message, text_of
from rllm_assets.evaluation.statistics import pass_at_k

# Markdown that a person reads in a dialog; the table has everything.
_SHOWN_CHARACTERS = 1500
_SHOWN_TURNS = 8
_BACKTICKS = re.compile(r"`{3,}")


def solve_rates(attempts: Sequence[Attempt]) -> dict[str, list[bool]]:
    """Return which of the rollouts with a verdict resolved each issue."""
    tries: dict[str, list[bool]] = {}
    for attempt in attempts:
        if attempt.kind == "rollout" and attempt.verdict.counts:
            tries.setdefault(attempt.instance_id, []).append(attempt.verdict.resolved)
    return tries


def pass_at(tries: Mapping[str, Sequence[bool]]) -> dict[int, float]:
    """Return pass@k, a mean over the issues, for each k that every issue has enough rollouts for."""
    most = min(map(len, tries.values()), default=0)
    return {
        k: sum(pass_at_k(len(tried), sum(tried), k) for tried in tries.values()) / len(tries)
        for k in range(1, most + 1)
    }


def examples(attempts: Sequence[Attempt]) -> Iterator[Attempt]:
    """Yield, of rollouts and of old runs, the first that resolved its issue and the first that did not."""
    for kind in ("rollout", "historical"):
        of_kind = [attempt for attempt in attempts if attempt.kind == kind]
        for resolved in (True, False):
            yield from [attempt for attempt in of_kind if attempt.verdict.resolved is resolved][:1]


def as_markdown(attempt: Attempt) -> str:
    """Return an attempt for a person: what was asked, and what was answered, turn by turn."""
    asked = _text(attempt.prompt[-1]) if attempt.prompt else ""
    question = "\n".join(f"> {line}" for line in _cut(asked).splitlines())
    by = attempt.kind if not attempt.origin else f"{attempt.kind}, {attempt.origin}"
    head = f"**{attempt.instance_id}: {attempt.verdict.status}** ({by}) {attempt.verdict.reason}"
    turns = attempt.turns or [{"role": "assistant", "content": attempt.response}]
    if len(turns) == 1:
        return f"{head}\n\n{question}\n\n{_cut(_text(turns[0]))}"
    shown = turns if len(turns) <= _SHOWN_TURNS else [*turns[: _SHOWN_TURNS // 2], *turns[-_SHOWN_TURNS // 2 :]]
    parts = [f"*{turn['role']}*\n\n{_fenced(_cut(_text(turn)))}" for turn in shown]
    if len(shown) < len(turns):
        parts.insert(_SHOWN_TURNS // 2, f"*{len(turns) - len(shown)} messages are left out here*")
    return "\n\n".join([head, question, *parts])


def _text(message: Message) -> str:
    """Return a message's text, and what it calls."""
    calls = message.get("tool_calls") or ()
    functions = [call.get("function") or {} for call in calls if isinstance(call, dict)]
    called = [f"{function.get('name', '')}({function.get('arguments', '')})" for function in functions]
    return "\n".join(filter(None, (text_of(message.get("content")), *called)))


def _cut(text: str) -> str:
    half = _SHOWN_CHARACTERS // 2
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


def _fenced(text: str) -> str:
    fence = "`" * max(3, *(len(found) + 1 for found in _BACKTICKS.findall(text)), 3)
    return f"{fence}\n{text}\n{fence}"
