"""Issues that are left out although nothing of them is on another side: DeepCoder's filters, trajectories that quote.

Filters yield what goes, with a category and a reason. But for fixes that fail they are asked about training issues alone: what
is held out does not depend on what a model did.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rllm_assets.data.quotes import Statements

Rows = npt.NDArray[np.int64]
Found = tuple[int, str, str]

_ASSERT = re.compile(r"^\s*assert\b", re.MULTILINE)
_AT_A_TIME = 4096


def few_tests(issues: pa.Table, rows: Rows, least: int) -> Iterator[Found]:
    """Yield the issues with fewer tests than `least`: cases, asserts of a suite, or FAIL_TO_PASS and PASS_TO_PASS together."""
    if least <= 1:
        return
    columns = issues.select(["task", "FAIL_TO_PASS", "PASS_TO_PASS"])
    for start in range(0, len(rows), _AT_A_TIME):
        part = rows[start : start + _AT_A_TIME]
        for row, issue in zip(part.tolist(), columns.take(part).to_pylist(), strict=True):
            count = _tests(issue)
            if count < least:
                yield row, "few_tests", f"{count} tests, and splits.min_tests is {least}"


def _tests(issue: dict[str, Any]) -> int:
    task = json.loads(issue["task"])
    if task["kind"] == "repository":
        return len(issue["FAIL_TO_PASS"] or ()) + len(issue["PASS_TO_PASS"] or ())
    return len(task["cases"]) if task.get("test_code") is None else len(_ASSERT.findall(task["test_code"]))


def failing_fixes(ids: Sequence[str], rows: Rows, trajectories: pa.Table) -> Iterator[Found]:
    """Yield the issues whose historical fix does not resolve them as an answer, or was not tried."""
    said = {
        tried["instance_id"]: ""
        if tried["status"] == "resolved"
        else f"the fix does not resolve it as an answer: {tried['reason'] or tried['status']}"
        for tried in _rows(trajectories, "instance_id", "kind", "status", "reason")
        if tried["kind"] == "gold"
    }
    for row in map(int, rows):
        problem = said.get(ids[row], "its fix was not tried as an answer")
        if problem:
            yield row, "fix_fails", problem


def by_solve_rate(
    ids: Sequence[str], rows: Rows, trajectories: pa.Table, *, always: bool, never: bool
) -> Iterator[Found]:
    """Yield the issues that the base resolves in each of its rollouts, or in none, as far as they have a verdict."""
    if not always and not never:
        return
    tries: dict[str, list[bool]] = {}
    for tried in _rows(trajectories, "instance_id", "kind", "status"):
        if tried["kind"] == "rollout" and tried["status"] != "no_verdict":
            tries.setdefault(tried["instance_id"], []).append(tried["status"] == "resolved")
    for number in map(int, rows):
        outcomes = tries.get(ids[number], [])
        if always and outcomes and all(outcomes):
            yield number, "always_solved", f"the base resolves it in each of {len(outcomes)} rollouts"
        elif never and outcomes and not any(outcomes):
            yield number, "never_solved", f"the base resolves it in none of {len(outcomes)} rollouts"


def quoting(train_ids: Sequence[str], held_out: pa.Table, trajectories: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield training issues with a trajectory that quotes a held-out statement, and the id of the issue that it quotes.

    Each training issue comes once. See `rllm_assets.data.quotes`.
    """
    names = held_out.column("instance_id").to_pylist()
    statements = Statements(text or "" for text in held_out.column("problem_statement").to_pylist())
    wanted, last_prompt = set(train_ids), None
    columns = ("instance_id", "prompt", "response", *(["turns"] if "turns" in trajectories.column_names else []))
    for tried in _rows(trajectories, *columns):
        name, prompt = tried["instance_id"], (tried["instance_id"], tried["prompt"])
        if name not in wanted:
            continue
        # Rollouts of an issue have its prompt in common.
        said = [tried["response"] or "", _said(tried.get("turns"))]
        texts = [*said, *([] if prompt == last_prompt else [_said(tried["prompt"])])]
        last_prompt = prompt
        quoted = next((at for text in texts for at in statements.quoted_in(text)), None)
        if quoted is not None:
            wanted.remove(name)
            yield name, names[quoted]


def _rows(table: pa.Table, *columns: str) -> Iterator[dict[str, Any]]:
    for batch in table.select(columns).to_batches(_AT_A_TIME):
        yield from batch.to_pylist()


def _said(prompt: str | None) -> str:
    contents = [message.get("content") for message in json.loads(prompt or "[]")]
    # A message may come in parts, as in the API of OpenAI.
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))
