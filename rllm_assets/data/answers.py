"""How an issue is asked and how its answer is read: one answer format, one renderer, one parser."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rllm_assets.data.issues import FunctionTask, Issue
from rllm_assets.data.trajectories import Message


class AnswerFormatError(ValueError):
    """An issue cannot be asked in the benchmark's answer format."""


@dataclass(frozen=True)
class AnswerFormat:
    """The three sides of a format.

    Attributes:
        prompt: the chat messages that ask for a fix.
        gold: the historical fix, written as a perfect answer.
        extract: the candidate in an answer, or None where there is none.
        complete: whether the text so far already holds a whole answer, so that sampling may end.
    """

    prompt: Callable[[Issue], list[Message]]
    gold: Callable[[Issue], str]
    extract: Callable[[str], str | None]
    complete: Callable[[str], bool]


_BLOCK = re.compile(r"^```(?:python|py)?[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL)

FUNCTION_PROMPT = """\
{report}

```python
{code}
```

Rewrite the whole function with the bug fixed, in a ```python block."""

# Measured on `pocket` with SmolLM2-135M: shorter than the model's own system prompt, and a third more issues resolved.
SYSTEM_PROMPT = "You fix bugs in Python code."


def _function_task(issue: Issue) -> FunctionTask:
    if not isinstance(issue.task, FunctionTask):
        raise AnswerFormatError(
            f"{issue.instance_id}: the answer format `function` needs a function task, not {issue.task.kind}"
        )
    return issue.task


def _function_prompt(issue: Issue) -> list[Message]:
    code = _function_task(issue).buggy_code.strip("\n")
    return [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": FUNCTION_PROMPT.format(report=issue.problem_statement.strip(), code=code)},
    ]


def _function_gold(issue: Issue) -> str:
    code = _function_task(issue).fixed_code.strip("\n")
    return f"```python\n{code}\n```"


def _fenced_block(response: str) -> str | None:
    match = _BLOCK.search(response)
    return match.group(1) if match else None


ANSWER_FORMATS: Mapping[str, AnswerFormat] = {
    "function": AnswerFormat(
        prompt=_function_prompt,
        gold=_function_gold,
        extract=_fenced_block,
        complete=lambda text: _fenced_block(text) is not None,
    ),
}


def answer_format(name: str) -> AnswerFormat:
    """Return a format by name.

    Raises:
        AnswerFormatError: for a name that is none, listing those that are.
    """
    if name not in ANSWER_FORMATS:
        raise AnswerFormatError(f"unknown answer_format {name!r}; known are {', '.join(ANSWER_FORMATS)}")
    return ANSWER_FORMATS[name]
