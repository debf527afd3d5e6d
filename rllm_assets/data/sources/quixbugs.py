"""QuixBugs, and rows like it: a buggy function, its fix, and assertions that tell them apart.

The columns are those of Muennighoff/quixbugs on the Hugging Face hub (https://github.com/jkoppel/QuixBugs): `name`,
`buggy_program`, `solution`, `tests`, and, where there is one, `docstring`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rllm_assets.data.issues import FunctionTask, Issue, Rejected, Source, Text, first_error, rejected, unified_diff
from rllm_assets.data.rows import RawRow, raw_rows, row_files
from rllm_assets.data.sources.asserts import SuiteError, check_defines, judged_by

_REPOSITORY = "quixbugs"


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    buggy_program: Text = Field(min_length=1)
    solution: Text = Field(min_length=1)
    tests: Text = Field(min_length=1)
    docstring: Text = ""


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
        return _issue(row, Source(benchmark=benchmark_id, kind="quixbugs", file=file.name, line=raw.line))
    except ValidationError as error:
        return rejected(file, raw, *first_error(error))
    except SuiteError as error:
        return rejected(file, raw, error.field, str(error))


def _issue(row: _Row, source: Source) -> Issue:
    module = row.name
    buggy, fixed = (f"{code.strip(chr(10)).rstrip()}\n" for code in (row.buggy_program, row.solution))
    if buggy == fixed:
        raise SuiteError("buggy_program", "the same as solution: there is no bug")
    check_defines(fixed, row.name, "solution")
    documented = re.sub(r"^\s*[\"']{3}|[\"']{3}\s*$", "", row.docstring).strip()
    about = f"\n\nWhat it is documented to do:\n\n{documented}" if documented else ""
    return Issue(
        instance_id=f"QuixBugs-{row.name}",
        repo=_REPOSITORY,
        problem_statement=f"{row.name} does not do what it should{about}\n",
        patch=unified_diff(buggy, fixed, f"{module}.py"),
        task=FunctionTask(
            module=module,
            entry_point=row.name,
            buggy_code=buggy,
            fixed_code=fixed,
            **judged_by(row.tests, row.name, "tests"),
        ),
        source=source,
    )
