"""SWE-bench and its kin, as published: Verified, Lite, Live, SWE-Gym, SWE-rebench, SWE-smith, and rows mined in their form.

What a row is shows in its keys, never in a file's name (https://www.swebench.com, https://swesmith.com). Columns that say how
others run the tests, such as Live's `log_parser`, which may be code, are left aside; of SWE-rebench's `install_config`, the
names of packages are read where that is asked for, and nothing else.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rllm_assets.data.clones import find_clone
from rllm_assets.data.issues import Install, Issue, Rejected, RepositoryTask, Source, Text, first_error, rejected
from rllm_assets.data.reversal import reversed_diff
from rllm_assets.data.rows import RawRow, raw_rows, row_files
from rllm_assets.data.sources.installs import installing, packages_of_row

_MISTAKEN = (
    ({"model_patch"}, "a prediction, not an issue"),
    ({"resolved_ids"}, "a report, not an issue"),
    ({"tests_status"}, "a report, not an issue"),
    ({"trajectory"}, "a trajectory, not an issue"),
    ({"messages"}, "a conversation, not an issue"),
    ({"commit_hash", "expected_output_json"}, "a row of R2E-Gym, which has no FAIL_TO_PASS and cannot be judged"),
)


class _Row(BaseModel):
    # Each of the datasets has further columns.
    model_config = ConfigDict(frozen=True, extra="ignore")

    instance_id: str = Field(min_length=1)
    repo: str = Field(min_length=1)
    base_commit: str = Field(min_length=1)
    patch: Text = Field(min_length=1)
    test_patch: Text = ""
    problem_statement: Text = Field(min_length=1)
    hints_text: Text = ""
    created_at: str = ""
    version: str = ""
    difficulty: str = ""
    language: str = ""
    FAIL_TO_PASS: list[str] = Field(min_length=1)
    PASS_TO_PASS: list[str] = Field(default_factory=list)

    @field_validator("test_patch", "hints_text", "version", "difficulty", "language", mode="before")
    @classmethod
    def _nothing(cls, value: Any) -> Any:
        return "" if value is None else value

    @field_validator("FAIL_TO_PASS", "PASS_TO_PASS", mode="before")
    @classmethod
    def _tests(cls, value: Any) -> Any:
        """A list, or the JSON text of one, as the Hugging Face hub stores it."""
        if not isinstance(value, str):
            return [] if value is None else value
        try:
            return json.loads(value) if value.strip() else []
        except ValueError as error:
            raise ValueError(f"neither a list nor the JSON text of one: {error}") from None

    @field_validator("created_at", mode="before")
    @classmethod
    def _time(cls, value: Any) -> str:
        return iso_time(value)


def iso_time(value: Any) -> str:
    """Return a time as ISO 8601: from such text, or from seconds or milliseconds since 1970; nothing stays nothing.

    Raises:
        ValueError: for anything else.
    """
    if value is None or value == "":
        return ""
    if isinstance(value, str) and not re.fullmatch(r"\d{9,}", value):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("no time in ISO 8601") from None
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"a {type(value).__name__} where a time is expected")
    seconds = float(value)
    # SWE-rebench counts milliseconds; seconds reach this number in the year 5138.
    seconds = seconds / 1000 if seconds > 1e11 else seconds
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def read(
    path: Path, benchmark_id: str, clones: Path | None = None, install: Mapping[str, Any] | None = None
) -> Iterator[Issue | Rejected]:
    """Read a file, or those of a directory; a row that is wrong is rejected with file, line and field.

    Args:
        path: the file or directory.
        benchmark_id: whose issues they become.
        clones: where local clones of the rows' repositories lie, named ``owner__name`` or ``name``.
        install: what their tests need, as it stands in benchmark.yaml; with ``rows``, also the packages that a row names.
    """
    for file in row_files(path):
        for raw in raw_rows(file):
            yield read_row(file, raw, benchmark_id, clones, install)


def _with_clone(issue: Issue, folder: Path) -> Issue:
    clone = find_clone(folder, issue.repo)
    if clone is None:
        return issue
    return issue.model_copy(update={"source": issue.source.model_copy(update={"repository": str(clone.resolve())})})


def read_row(
    file: Path, raw: RawRow, benchmark_id: str, clones: Path | None = None, install: Mapping[str, Any] | None = None
) -> Issue | Rejected:
    """Return the issue of a file's row, or why it is none; the arguments are those of `read`."""
    issue = _read(file, raw, benchmark_id)
    if isinstance(issue, Issue) and install:
        issue = _installing(issue, file, raw, install)
    return _with_clone(issue, clones) if isinstance(issue, Issue) and clones is not None else issue


def _installing(issue: Issue, file: Path, raw: RawRow, install: Mapping[str, Any]) -> Issue | Rejected:
    wanted = Install.model_validate({name: value for name, value in install.items() if name != "rows"})
    if install.get("rows"):
        try:
            named = packages_of_row((raw.content or {}).get("install_config"))
        except ValueError as error:
            return rejected(file, raw, "install_config", str(error))
        wanted = wanted.model_copy(update={"packages": (*wanted.packages, *named)})
    return installing(issue, wanted)


def _read(file: Path, raw: RawRow, benchmark_id: str) -> Issue | Rejected:
    if raw.content is None:
        return rejected(file, raw, raw.field, raw.problem)
    for keys, what in _MISTAKEN:
        if keys <= raw.content.keys() and "problem_statement" not in raw.content:
            return rejected(file, raw, min(keys), what)
    try:
        row = _Row.model_validate(raw.content)
        return _issue(row, raw.content, Source(benchmark=benchmark_id, kind="swebench", file=file.name, line=raw.line))
    except ValidationError as error:
        return rejected(file, raw, *first_error(error))


def _issue(row: _Row, columns: Mapping[str, Any], source: Source) -> Issue:
    makes_the_bug = "image_name" in columns and "test_patch" not in columns
    return Issue(
        instance_id=row.instance_id,
        repo=row.repo,
        base_commit=row.base_commit,
        problem_statement=row.problem_statement,
        hints_text=row.hints_text,
        created_at=row.created_at,
        patch=reversed_diff(row.patch) if makes_the_bug else row.patch,
        test_patch=row.test_patch,
        FAIL_TO_PASS=row.FAIL_TO_PASS,
        PASS_TO_PASS=row.PASS_TO_PASS,
        version=row.version,
        labels=[label for label in (row.language, row.difficulty) if label],
        # SWE-smith's tests are in the tree already, and its patch breaks what they test.
        task=RepositoryTask(bug_patch=row.patch if makes_the_bug else ""),
        source=source,
    )
