"""Issues: what was reported, what fixed it, and how a candidate fix is verified."""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rllm_assets.data.hashing import content_hash
from rllm_assets.data.rows import RawRow, raw_rows

# In characters. The largest diff of SWE-bench has 0.4 million.
LONGEST_TEXT = 10_000_000


# A constraint makes pydantic refuse lone surrogates too, which no table can hold.
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Case(_Record):
    """One call of the function and what must come of it; values are in the JSON form of `rllm_assets.data.values`."""

    args: list[Any] = Field(description="Positional arguments, encoded.")
    returns: Any = Field(default=None, description="The expected return value, encoded.")
    raises: str | None = Field(default=None, description="Name of the exception that must be raised instead.")
    args_after: list[Any] | None = Field(
        default=None, description="What the arguments must be after the call, when it matters."
    )
    tolerance: float = Field(
        default=1e-9, ge=0, description="Allowed difference of floats, absolute below 1, relative above."
    )


class FunctionTask(_Record):
    """One function to repair, judged by calls whose results are compared outside the sandbox."""

    kind: Literal["function"] = "function"
    module: str = Field(description="File of the library that the function lives in, without its ending.")
    entry_point: str = Field(description="Name of the function that the cases call.")
    buggy_code: str = Field(description="The code as it was when the issue was opened.")
    fixed_code: str = Field(description="The code that closed the issue.")
    cases: tuple[Case, ...] = Field(default=(), description="Calls and expected results, run in order in one process.")
    test_code: str | None = Field(
        default=None, description="A published `assert` suite that cannot be turned into cases; judged in process."
    )
    timeout_seconds: float = Field(default=5.0, gt=0, description="Wall time for all cases together.")


class Install(_Record):
    """What pip installs for the tests of a repository, outside the sandbox and before any of its code runs."""

    packages: tuple[str, ...] = Field(default=(), description="Requirements by name and version, as pip takes them.")
    project: bool = Field(
        default=False, description="Also what pyproject.toml or setup.cfg of the base commit depends on."
    )
    extras: tuple[str, ...] = Field(default=(), description="Also these of its extras and dependency groups.")
    files: tuple[str, ...] = Field(default=(), description="Also these requirements files of the base commit.")
    source_builds: bool = Field(
        default=False, description="Build what has no wheel, which runs code of its authors, unsandboxed."
    )


class RepositoryTask(_Record):
    """A change to a repository, judged by its own tests."""

    kind: Literal["repository"] = "repository"
    files: dict[str, str] | None = Field(default=None, description="The tree as path to text, when it is not a commit.")
    bug_patch: str = Field(default="", description="What makes the bug, applied to the tree before anything else.")
    install: Install | None = Field(default=None, description="What its tests need besides pytest; None for nothing.")
    timeout_seconds: float = Field(default=60.0, gt=0, description="Wall time for all required tests together.")


class Source(_Record):
    """Where an issue came from."""

    benchmark: str = Field(description="Benchmark id.")
    kind: str = Field(description="Kind of source that read it.")
    file: str = Field(description="File, relative to the benchmark, or commit.")
    line: int | None = Field(default=None, description="Line in that file, where it has lines.")
    repository: str = Field(
        default="", description="Local clone that holds the base commit, where the task has no files."
    )


class Issue(_Record):
    """A closed issue: a superset of the SWE-bench instance, with its field names."""

    instance_id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.\-]+$", description="Unique in its benchmark.")
    repo: Text = Field(description="owner/name, or the name of a library.")
    base_commit: Text = Field(
        default="", description="Commit that the issue was opened against; empty for function tasks."
    )
    problem_statement: Text = Field(min_length=1, description="Title and body.")
    hints_text: Text = Field(default="", description="Comments made before the fix.")
    created_at: Text = Field(default="", description="ISO 8601 date or time; empty where unknown.")
    patch: Text = Field(default="", description="The fix as a unified diff.")
    test_patch: Text = Field(default="", description="The change to the tests that came with the fix.")
    FAIL_TO_PASS: list[Text] = Field(
        default_factory=list, description="Tests that fail before the fix and pass after it."
    )
    PASS_TO_PASS: list[Text] = Field(default_factory=list, description="Tests that pass before and after.")
    version: Text = Field(default="", description="Version of the repository.")
    labels: list[Text] = Field(default_factory=list, description="Labels, the kind of bug among them.")
    task: Annotated[FunctionTask | RepositoryTask, Field(discriminator="kind")] = Field(
        description="How a fix is verified."
    )
    source: Source = Field(description="Where the issue came from.")

    @property
    def content_hash(self) -> str:
        """Hash of the issue's content, wherever it was read from."""
        return content_hash(self.model_dump(mode="json", exclude={"source"}))

    @property
    def is_judged_in_process(self) -> bool:
        """Whether tests in the candidate's own process decide, which hostile code can forge."""
        return self.task.test_code is not None if isinstance(self.task, FunctionTask) else True

    @property
    def group(self) -> str:
        """Key that never straddles a split: the function, or the repository."""
        match self.task:
            case FunctionTask(module=module, entry_point=name):
                return f"{self.repo}/{module}.{name}"
            case RepositoryTask():
                return self.repo


class Rejected(_Record):
    """A row that is no issue to learn from, kept with its reason; the rows beside it go on.

    `category` is one word for the kind of reason: ``unreadable``, or what verification found.
    """

    file: str
    line: int | None = None
    field: str = ""
    category: str = "unreadable"
    reason: str
    row: str = Field(default="", description="The first 2,000 characters of the row.")

    def __str__(self) -> str:
        """Say where, what and why in one line."""
        where = self.file + (f":{self.line}" if self.line is not None else "")
        return f"{where}: {self.field + ': ' if self.field else ''}{self.reason}"


def unified_diff(before: str, after: str, path: str) -> str:
    """Return the change from `before` to `after` as `git diff` would print it."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}", n=3
    )
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def first_error(error: ValidationError) -> tuple[str, str]:
    """Return the field path and the message of a validation error's first complaint."""
    complaint = error.errors()[0]
    # A discriminated union puts the tag in the path, which is not something the user wrote.
    path = ".".join(str(part) for part in complaint["loc"] if part not in ("function", "repository"))
    return path, complaint["msg"]


def issue_to_row(issue: Issue) -> dict[str, Any]:
    """Return the table row of an issue; free-form parts are JSON strings.

    Raises:
        ValueError: where a part has no JSON form, such as lists in lists in lists, hundreds deep.
    """
    row = issue.model_dump(mode="json")
    # The same as the issue's own, which would write it out once more.
    digest = content_hash({name: value for name, value in row.items() if name != "source"})
    # In their own order: to a function that is given a dict, its order may be what matters.
    row["task"] = json.dumps(row["task"])
    row["source"] = json.dumps(row["source"])
    return {**row, "group": issue.group, "content_hash": digest}


def issue_from_row(row: dict[str, Any]) -> Issue:
    """Return the issue of a table row or of a line of a train or validation file.

    Raises:
        pydantic.ValidationError: where the row is not an issue.
    """
    fields = {name: row[name] for name in Issue.model_fields if name in row}
    for name in ("task", "source"):
        if isinstance(fields.get(name), str):
            fields[name] = json.loads(fields[name])
    return Issue.model_validate(fields)


def read_rows(path: Path) -> Iterator[tuple[int, tuple[Issue, dict[str, Any]] | Rejected]]:
    """Read the rows of a train or validation file with their line numbers: issues with all of the row's values, or rejected.

    Raises:
        FileNotFoundError: where there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; JSONL or Parquet with one issue a row is expected")
    for raw in raw_rows(path):
        issue = read_issue(path, raw)
        yield raw.line, issue if isinstance(issue, Rejected) else (issue, raw.content or {})


def read_issue(path: Path, raw: RawRow) -> Issue | Rejected:
    """Return the issue of a file's row, or why it is none."""
    if raw.content is None:
        return rejected(path, raw, raw.field, raw.problem)
    try:
        return issue_from_row(raw.content)
    except ValidationError as error:
        return rejected(path, raw, *first_error(error))
    except (json.JSONDecodeError, RecursionError) as error:
        return rejected(path, raw, "", f"a JSON column does not parse: {error}")


def rejected(path: Path, raw: RawRow, field: str, reason: str) -> Rejected:
    """Return a row of a file as one that could not be read."""
    return Rejected(file=path.name, line=raw.line, field=field, reason=reason, row=raw.text)
