"""SWE-bench predictions: ``instance_id``, ``model_name_or_path``, ``model_patch`` a line (swebench/harness/utils.py).

The harness keeps one prediction an instance and drops the others without a word, so a file holds one attempt at each issue. A
`model_patch` that is empty stands for an answer without a fix, which the harness counts apart.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from rllm_assets.data.answers import AnswerFormat, NoCandidateError, answer_format
from rllm_assets.data.changes import ChangeError
from rllm_assets.data.diffs import written_diff
from rllm_assets.data.exports.dataset import Dataset, ExportError, Written
from rllm_assets.data.exports.policies import by_model, path_component
from rllm_assets.data.files import atomic_file
from rllm_assets.data.issues import FunctionTask, Issue, Rejected, unified_diff
from rllm_assets.data.repositories import TaskError, read_changes, repository_of

# difflib's time grows faster than the text; the longest answers of models have some hundred thousand characters.
_LARGEST = 1_000_000
_CHANGED_FILE = re.compile(r"^\+\+\+ b/(\S+)", re.MULTILINE)
_HUNK = re.compile(r"^--- .*\n\+\+\+ .*\n@@ -\d+(,\d+)? \+\d+(,\d+)? @@", re.MULTILINE)


class _NoPatchError(ValueError):
    pass


def write(dataset: Dataset, directory: Path) -> Written:
    """Write ``predictions_MODEL_N.jsonl``, the N-th attempts of one model, each atomically.

    Models are the policies of the attempts, and `NAME-base`, `NAME-lora`, ... for the answers of an evaluation.

    Raises:
        ExportError: where there is no answer to write.
    """
    asked, issues = answer_format(dataset.answer_format), dataset.issues
    files: dict[Path, list[str]] = {}
    left_out: list[Rejected] = []
    for model, number, instance_id, answer, candidate in _answers(dataset):
        issue = issues[instance_id]
        try:
            patch = candidate_patch(issue, candidate) if candidate else model_patch(issue, asked, answer)
        except _NoPatchError as error:
            left_out.append(Rejected(file=model, field=instance_id, reason=str(error), row=answer[:2000]))
            continue
        prediction = {"instance_id": instance_id, "model_name_or_path": model, "model_patch": patch}
        path = directory / f"predictions_{path_component(model)}_{number}.jsonl"
        files.setdefault(path, []).append(json.dumps(prediction) + "\n")
    if not files:
        first = f"; the first: {left_out[0]}" if left_out else ""
        raise ExportError(f"no answer of {dataset.name} is left to write as a prediction{first}")
    for path, lines in files.items():
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    return Written({path: len(lines) for path, lines in files.items()}, left_out)


def _answers(dataset: Dataset) -> Iterator[tuple[str, int, str, str, str]]:
    """Yield model, number of the attempt, instance_id, answer, and what was judged where the answer alone does not say it."""
    for model, tried in by_model(dataset.attempts).items():
        for instance_id, attempts in tried.items():
            for number, attempt in enumerate(attempts):
                yield model, number, instance_id, attempt.response, attempt.candidate
    for evaluated in dataset.evaluated:
        yield f"{dataset.name}-{evaluated.policy}", 0, evaluated.instance_id, evaluated.answer, ""


def model_patch(issue: Issue, asked: AnswerFormat, answer: str) -> str:
    """Return the change that an answer makes, as a unified diff; empty where it holds no candidate or changes nothing.

    Raises:
        ValueError: where it has no such form.
    """
    if len(answer) > _LARGEST:
        raise _NoPatchError(f"the answer has {len(answer):,} characters, more than {_LARGEST:,}")
    try:
        candidate = asked.extract(issue, answer)
    except NoCandidateError:
        return ""
    return candidate_patch(issue, candidate)


def candidate_patch(issue: Issue, candidate: str) -> str:
    """Return the change that a candidate makes, code or changes as a verifier takes them, as a unified diff.

    Raises:
        ValueError: where it has no such form.
    """
    if isinstance(issue.task, FunctionTask):
        return _function_patch(issue, issue.task, candidate)
    if _HUNK.search(candidate) is not None:
        return candidate
    try:
        tree = repository_of(issue).tree
        return written_diff(tree, read_changes(tree, candidate))
    except (ChangeError, TaskError) as error:
        raise _NoPatchError(str(error)) from None


def _function_patch(issue: Issue, task: FunctionTask, candidate: str) -> str:
    before, after = task.buggy_code, candidate.strip("\n")
    # Blank lines around the code are shown to no model, so an answer does not change them.
    shown = before.strip("\n")
    if after == shown:
        return ""
    leading = before[: len(before) - len(before.lstrip("\n"))] if shown else ""
    trailing = before[len(before.rstrip("\n")) :] or "\n"
    named = _CHANGED_FILE.search(issue.patch)
    module = task.module if task.module.endswith(".py") else f"{task.module}.py"
    return unified_diff(before, f"{leading}{after}{trailing}", named.group(1) if named else module)
