"""Our own layout: one YAML file a module, holding functions, their cases and the issues closed against them.

A function is written as it stands today. Each issue lists the edits that take it back to what it was when the issue was opened,
so a file reads like a history and a fix is exactly the difference.
"""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rllm_assets.data.issues import Case, FunctionTask, Issue, Rejected, Source, first_error, unified_diff
from rllm_assets.data.values import NotEncodableError, encode


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _CaseEntry(_Entry):
    args: list[Any]
    returns: Any = None
    raises: str | None = None
    args_after: list[Any] | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> "_CaseEntry":
        if ("returns" in self.model_fields_set) == ("raises" in self.model_fields_set):
            raise ValueError("give either returns or raises")
        return self


class _Edit(_Entry):
    was: str
    now: str = Field(min_length=1)


class _IssueEntry(_Entry):
    number: int = Field(gt=0)
    opened: datetime.date
    kind: str = Field(min_length=1)
    title: str = Field(min_length=1)
    body: str = Field(min_length=1)
    bug: list[_Edit] = Field(min_length=1)


class _FunctionEntry(_Entry):
    name: str = Field(min_length=1)
    code: str = Field(min_length=1)
    cases: list[_CaseEntry] = Field(min_length=1)


def read(path: Path, benchmark_id: str) -> Iterator[Issue | Rejected]:
    """Read every module file of a directory, or one file; what is wrong is rejected with file and field, the rest goes on."""
    files = [path] if path.is_file() else sorted(p for p in path.glob("*.yaml") if p.name != "benchmark.yaml")
    for file in files:
        yield from _read_module(file, benchmark_id)


def _read_module(file: Path, benchmark_id: str) -> Iterator[Issue | Rejected]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        functions = content["functions"]
        assert isinstance(functions, list)
    # A day that no month has is a ValueError of its own.
    except (OSError, ValueError, yaml.YAMLError) as error:
        yield Rejected(file=file.name, reason=f"not readable as YAML: {' '.join(str(error).split())}")
        return
    except (KeyError, TypeError, AssertionError):
        yield Rejected(file=file.name, field="functions", reason="a list of functions is expected")
        return
    for index, entry in enumerate(functions):
        yield from _read_function(file, index, entry, benchmark_id)


def _read_function(file: Path, index: int, entry: Any, benchmark_id: str) -> Iterator[Issue | Rejected]:
    where = f"functions.{index}"
    if not isinstance(entry, dict):
        yield Rejected(file=file.name, field=where, reason="a mapping is expected")
        return
    try:
        function = _FunctionEntry.model_validate({k: v for k, v in entry.items() if k != "issues"})
        cases = tuple(_encode_case(case) for case in function.cases)
    except ValidationError as error:
        field, reason = first_error(error)
        yield Rejected(file=file.name, field=f"{where}.{field}", reason=reason, row=str(entry)[:2000])
        return
    except NotEncodableError as error:
        yield Rejected(file=file.name, field=f"{where}.cases", reason=str(error), row=str(entry)[:2000])
        return
    issues = entry.get("issues")
    if issues is not None and not isinstance(issues, list):
        yield Rejected(
            file=file.name, field=f"{where}.issues", reason="a list of issues is expected", row=str(issues)[:2000]
        )
        return
    for number, issue in enumerate(issues or []):
        yield _read_issue(file, f"{where}.issues.{number}", function, cases, issue, benchmark_id)


def _encode_case(case: _CaseEntry) -> Case:
    return Case(
        args=[encode(value) for value in case.args],
        returns=encode(case.returns),
        raises=case.raises,
        args_after=None if case.args_after is None else [encode(value) for value in case.args_after],
    )


def _read_issue(
    file: Path, where: str, function: _FunctionEntry, cases: tuple[Case, ...], entry: Any, benchmark_id: str
) -> Issue | Rejected:
    try:
        issue = _IssueEntry.model_validate(entry)
        buggy = function.code
        for edit in issue.bug:
            if (count := buggy.count(edit.now)) != 1:
                reason = f"{edit.now!r} stands {count} times in the code of {function.name}; it must stand there once"
                return Rejected(file=file.name, field=f"{where}.bug", reason=reason)
            buggy = buggy.replace(edit.now, edit.was)
        task = FunctionTask(
            module=file.stem, entry_point=function.name, buggy_code=buggy, fixed_code=function.code, cases=cases
        )
        return Issue(
            instance_id=f"{benchmark_id}-{issue.number}",
            repo=benchmark_id,
            problem_statement=f"{issue.title.strip()}\n\n{issue.body.strip()}",
            created_at=issue.opened.isoformat(),
            patch=unified_diff(buggy, function.code, f"{file.stem}.py"),
            labels=[issue.kind],
            task=task,
            source=Source(benchmark=benchmark_id, kind="functions", file=file.name),
        )
    except ValidationError as error:
        field, reason = first_error(error)
        return Rejected(file=file.name, field=f"{where}.{field}", reason=reason, row=str(entry)[:2000])
