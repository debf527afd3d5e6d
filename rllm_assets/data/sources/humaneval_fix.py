"""HumanEvalFix, the Python part of bigcode/humanevalpack, as published: one JSON object a line.

A row is a function with a bug put in by hand, its fix, and a suite of assertions (https://huggingface.co/datasets/bigcode/humanevalpack).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rllm_assets.data.issues import FunctionTask, Issue, Rejected, Source, first_error, rejected, unified_diff
from rllm_assets.data.rows import RawRow, raw_rows, row_files
from rllm_assets.data.sources.asserts import SuiteError, check_defines, judged_by

_REPOSITORY = "bigcode/humanevalpack"

_TITLES = {
    "incorrect output": "{name} returns a wrong result",
    "infinite loop": "{name} never returns",
    "stackoverflow": "{name} fails with a stack overflow",
}


class _Row(BaseModel):
    # Further columns come and go with the dataset's versions.
    model_config = ConfigDict(frozen=True, extra="ignore")

    task_id: str = Field(min_length=1)
    declaration: str = Field(min_length=1)
    canonical_solution: str = Field(min_length=1)
    buggy_solution: str = Field(min_length=1)
    test: str = Field(min_length=1)
    entry_point: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    docstring: str = Field(min_length=1)
    bug_type: str = ""
    failure_symptoms: str = ""


def read(path: Path, benchmark_id: str) -> Iterator[Issue | Rejected]:
    """Read a file, or those of a directory; a row that is wrong is rejected with file, line and field."""
    for file in row_files(path):
        for raw in raw_rows(file):
            yield _read(file, raw, benchmark_id)


def _read(file: Path, raw: RawRow, benchmark_id: str) -> Issue | Rejected:
    if raw.content is None:
        return rejected(file, raw, raw.field, raw.problem)
    try:
        row = _Row.model_validate(raw.content)
        return _issue(row, Source(benchmark=benchmark_id, kind="humaneval_fix", file=file.name, line=raw.line))
    except ValidationError as error:
        return rejected(file, raw, *first_error(error))
    except SuiteError as error:
        return rejected(file, raw, error.field, str(error))


def _issue(row: _Row, source: Source) -> Issue:
    identifier = re.sub(r"[^A-Za-z0-9_.]+", "-", row.task_id)
    module = identifier.replace("-", "_").lower()
    buggy, fixed = _joined(row.declaration, row.buggy_solution), _joined(row.declaration, row.canonical_solution)
    if buggy == fixed:
        raise SuiteError("buggy_solution", "the same as canonical_solution: there is no bug")
    check_defines(fixed, row.entry_point, "canonical_solution")
    judged = judged_by(row.test, row.entry_point, "test")
    task = FunctionTask(module=module, entry_point=row.entry_point, buggy_code=buggy, fixed_code=fixed, **judged)
    return Issue(
        instance_id=f"HumanEvalFix-{identifier}",
        repo=_REPOSITORY,
        problem_statement=_statement(row),
        patch=unified_diff(buggy, fixed, f"{module}.py"),
        labels=[label for label in (row.bug_type, row.failure_symptoms) if label],
        task=task,
        source=source,
    )


def _joined(declaration: str, body: str) -> str:
    return f"{declaration.rstrip()}\n{body.strip(chr(10)).rstrip()}\n"


def _statement(row: _Row) -> str:
    title = _TITLES.get(row.failure_symptoms, "{name} does not do what it should").format(name=row.entry_point)
    return f"{title}\n\nWhat it is documented to do:\n\n{row.docstring.strip()}\n"
