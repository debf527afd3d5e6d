"""Sources of issues: each a function from a benchmark to an iterator of issues and of rows that could not be read."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rllm_assets.data import clones
from rllm_assets.data.admission import Admission, Place, keyed
from rllm_assets.data.benchmarks import FILE_NAME, Benchmark, BenchmarkError
from rllm_assets.data.github.client import GitHubError
from rllm_assets.data.github.records import is_repo
from rllm_assets.data.issues import Issue, Rejected, read_issue
from rllm_assets.data.rows import RawRow, raw_rows, row_files
from rllm_assets.data.sources import functions, git, github, humaneval_fix, installs, quixbugs, swebench, union

Source = Callable[[Benchmark], Iterator[Issue | Rejected]]
Convert = Callable[[Path, RawRow], Issue | Rejected]
T = TypeVar("T")


@dataclass(frozen=True)
class FileRows:
    """A source whose issues are rows of files, each by itself, so that several processes can convert them."""

    files: Sequence[Path]
    convert: Convert


def _issue_file(benchmark: Benchmark) -> FileRows:
    if not benchmark.source_path.is_file():
        raise BenchmarkError(
            f"{benchmark.directory / FILE_NAME}: path: {benchmark.source_path} is no file; "
            "the source issues reads one file, JSONL or Parquet with one issue a row"
        )
    return FileRows([benchmark.source_path], read_issue)


def _mined(benchmark: Benchmark) -> Iterator[Issue | Rejected]:
    options = benchmark.options
    rows = git.read(benchmark.source_path, benchmark.id, options.get("repo", ""), options.get("revision", "HEAD"))
    yield from installs.with_install(rows, options.get("install"))


def _swebench(benchmark: Benchmark) -> FileRows:
    folder = benchmark.options.get("clones")
    clones = folder and benchmark.directory / folder
    install = benchmark.options.get("install")
    convert = partial(swebench.read_row, benchmark_id=benchmark.id, clones=clones, install=install)
    return FileRows(row_files(benchmark.source_path), convert)


_ONLINE = {"repo", "revision", "api", "token"}


def _github(benchmark: Benchmark) -> Iterator[Issue | Rejected]:
    options = benchmark.options
    is_clone = clones.is_clone(benchmark.source_path)
    for name in sorted(options.keys() & ({"clones"} if is_clone else _ONLINE)):
        what = (
            "path is a clone, which holds the commits" if is_clone else "path holds saved payloads, read without GitHub"
        )
        raise BenchmarkError(f"{benchmark.directory / FILE_NAME}: options.{name}: without effect: {what}")
    kept = {name: options[name] for name in ("repo", "revision", "token", "without_issue") if name in options}
    since = github.utc(options.get("since"))
    if is_clone:
        api = options.get("api", github.API)
        rows = github.read(benchmark.source_path, benchmark.id, **kept, api=api, since=since)
    else:
        folder = options.get("clones")
        folder = folder and benchmark.directory / folder
        rows = github.read_files(benchmark.source_path, benchmark.id, **kept, since=since, folder=folder)
    yield from installs.with_install(rows, options.get("install"))


def _limit(value: Any) -> str:
    # True is an int to Python.
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return "" if is_count else f"a number of issues, 1 or more, is expected, not {value!r}"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value else f"a text is expected, not {value!r}"


def _repo(value: Any) -> str:
    return "" if is_repo(value) else f"owner/name is expected, not {value!r}"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else f"true or false is expected, not {value!r}"


def _since(value: Any) -> str:
    try:
        is_time = bool(github.utc(value)) and isinstance(value, str | date)
    except ValueError:
        is_time = False
    return "" if is_time else f"a day or a time in ISO 8601 is expected, not {value!r}"


def _api(value: Any) -> str:
    # The token must not cross a network in the clear.
    is_address = isinstance(value, str) and re.fullmatch(
        r"https://[\w.\-]+(:[0-9]+)?(/[\w.\-]+)*/?|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?(/[\w.\-]+)*/?",
        value,
    )
    return "" if is_address else f"an address is expected, https://api.github.com or https://HOST/api/v3, not {value!r}"


def _variable(value: Any) -> str:
    # What looks like a token is not repeated.
    is_token = isinstance(value, str) and re.match(r"gh[a-z]_|github_pat_|[0-9a-f]{40}$", value)
    is_name = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) and not is_token
    return "" if is_name else "the name of an environment variable is expected, and never a token itself"


# What each option's value is wrong for; empty where it is right.
Options = Mapping[str, Callable[[Any], str]]


def _files(_: Benchmark) -> None:
    return None


@dataclass(frozen=True)
class SourceKind:
    """A kind of source, with one of `read` and `rows`.

    Attributes:
        read: how it is read.
        options: which options it has.
        version: what stands for its content; None where its files do.
        has_path: whether it reads a file or directory.
        rows: the rows that it reads, where each is an issue by itself.
        of_repositories: whether its issues are of repositories, which no single function answers.
    """

    read: Source | None
    options: Options
    version: Callable[[Benchmark], str | None] = _files
    has_path: bool = True
    rows: Callable[[Benchmark], FileRows] | None = None
    of_repositories: bool = False


_EVERY: Options = {"limit": _limit}

SOURCES: Mapping[str, SourceKind] = {
    "functions": SourceKind(lambda benchmark: functions.read(benchmark.source_path, benchmark.id), _EVERY),
    "humaneval_fix": SourceKind(lambda benchmark: humaneval_fix.read(benchmark.source_path, benchmark.id), _EVERY),
    "quixbugs": SourceKind(lambda benchmark: quixbugs.read(benchmark.source_path, benchmark.id), _EVERY),
    "swebench": SourceKind(
        None, {**_EVERY, "clones": _text, "install": installs.complaint_with_rows}, rows=_swebench, of_repositories=True
    ),
    "git": SourceKind(
        _mined,
        {**_EVERY, "repo": _repo, "revision": _text, "install": installs.complaint},
        lambda benchmark: clones.head(benchmark.source_path, benchmark.options.get("revision", "HEAD")),
        of_repositories=True,
    ),
    "github": SourceKind(
        _github,
        {
            **_EVERY,
            "repo": _repo,
            "revision": _text,
            "api": _api,
            "token": _variable,
            "since": _since,
            "without_issue": _flag,
            "clones": _text,
            "install": installs.complaint,
        },
        lambda benchmark: github.version(benchmark.source_path, benchmark.options.get("revision", "HEAD")),
        of_repositories=True,
    ),
    "issues": SourceKind(None, _EVERY, rows=_issue_file),
    "union": SourceKind(
        lambda benchmark: union.read(benchmark, stream_issues),
        {**_EVERY, "members": union.complaint},
        union.version,
        has_path=False,
    ),
}


def check_options(benchmark: Benchmark) -> None:
    """Check the options of a benchmark's source.

    Raises:
        BenchmarkError: for one that is unknown or has a wrong value, naming file and key.
    """
    known = SOURCES[benchmark.source].options
    for name, value in benchmark.options.items():
        if name in known:
            complaint = known[name](value)
        else:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            complaint = f"unknown to the source {benchmark.source}; {hint}"
        if complaint:
            raise BenchmarkError(f"{benchmark.directory / FILE_NAME}: options.{name}: {complaint}")


def load_issues(benchmark: Benchmark) -> tuple[list[Issue], list[Rejected]]:
    """Read a whole benchmark: its issues in order of instance_id, and the rows that are quarantined.

    Raises:
        BenchmarkError: as `stream_issues`, and where no row could be read at all.
    """
    issues: list[Issue] = []
    rejected: list[Rejected] = []
    for row in stream_issues(benchmark):
        if isinstance(row, Rejected):
            rejected.append(row)
        else:
            issues.append(row)
    if not issues:
        raise nothing_read(benchmark, rejected[0] if rejected else None)
    return sorted(issues, key=lambda issue: issue.instance_id), rejected


def nothing_read(benchmark: Benchmark, first: Rejected | None) -> BenchmarkError:
    """Return the error of a benchmark without an issue, with the first row that is quarantined."""
    example = f"; the first: {first}" if first else ""
    return BenchmarkError(f"{benchmark.id}: no issue could be read from {benchmark.source_path}{example}")


def stream_issues(benchmark: Benchmark) -> Iterator[Issue | Rejected]:
    """Yield a benchmark's issues in the order of its source, and between them the rows that are quarantined.

    An `instance_id` that came before is rejected, as is the same content under another id. The option `limit` keeps the first
    issues of the source.

    Raises:
        BenchmarkError: where an option is wrong, or a file cannot be read.
    """
    check_options(benchmark)
    admission = Admission()
    left = benchmark.options.get("limit")
    for row, place in guarded(benchmark, _placed(benchmark)):
        found = keyed(row, place)
        if isinstance(found, Rejected):
            yield found
            continue
        issue, key = found
        refusal = admission.refusal(issue.instance_id, key, place)
        yield refusal or issue
        if left is not None and refusal is None:
            left -= 1
            if not left:
                return


def _placed(benchmark: Benchmark) -> Iterator[tuple[Issue | Rejected, Place]]:
    """Yield what is read from a source, and of issues where they stand: the file and the line that somebody would look at."""
    kind = SOURCES[benchmark.source]
    if kind.rows is not None:
        found = kind.rows(benchmark)
        for file in found.files:
            for row in raw_rows(file):
                yield found.convert(file, row), (file.name, row.line)
    elif kind.read is not None:
        for row in kind.read(benchmark):
            where = row.source if isinstance(row, Issue) else row
            yield row, (where.file, where.line)


def guarded(benchmark: Benchmark, rows: Iterable[T]) -> Iterator[T]:
    """Yield what is read from a source.

    Raises:
        BenchmarkError: where it cannot be read.
    """
    import pyarrow as pa

    try:
        yield from rows
    except (clones.CloneError, GitHubError) as error:
        raise BenchmarkError(f"{benchmark.id}: {error}") from None
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:300]
        raise BenchmarkError(f"{benchmark.id}: {benchmark.source_path} cannot be read: {reason}") from None
