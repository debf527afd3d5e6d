"""What issues may have in common: function, files, repository, report, fix, commits and numbers, read from Arrow columns.

Issues are numbered as they come. What they have is kept as numbers of 64 bits, each the hash of a kind and a value, so that two
issues have something in common where they have a number in common; two different values are taken for the same with a
probability of less than 2^-60. A million issues take about 0.5 GB; their texts are not kept.
"""

import json
import re
from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rllm_assets.data.fixes import Fix, read_fix
from rllm_assets.data.shingles import ShingleStore, shingles_of

Rows = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]

KINDS = (
    "id",
    "content",
    "function",
    "file",
    "repository",
    "statement",
    "fix",
    "fix commit",
    "base commit",
    "issue number",
    "near-duplicate statement",
    "near-duplicate fix",
)
ID, CONTENT, FUNCTION, FILE, REPOSITORY, STATEMENT, FIX, FIX_COMMIT, BASE_COMMIT, NUMBER, NEAR_STATEMENT, NEAR_FIX = (
    range(len(KINDS))
)
PLACES = (FUNCTION, FILE, REPOSITORY)
# What no two issues of different sides share, wherever they are at home.
SHARED = tuple(kind for kind in range(len(KINDS)) if kind not in PLACES)
# What makes an issue one of a benchmark that is not to be trained on; another issue of its commit is none.
CONTAMINATING = tuple(kind for kind in (*SHARED, FUNCTION) if kind != BASE_COMMIT)

COLUMNS = (
    "instance_id",
    "repo",
    "base_commit",
    "problem_statement",
    "created_at",
    "patch",
    "labels",
    "source",
    "group",
)
_CONTENT_COLUMNS = ("test_patch", "FAIL_TO_PASS", "task")
_AT_A_TIME = 2048

_NUMBER = re.compile(r"([\w.\-]+/[\w.\-]+)?#(\d{1,9})")
_COMMIT = re.compile(r"[0-9a-f]{10,40}")
# Mined issues are named after so many digits of the commit that fixed them.
_COMMIT_DIGITS = 10


class Keys(NamedTuple):
    """Keys of issues: whose each is, its number, and its kind as an index in `KINDS`."""

    rows: Rows
    codes: Codes
    kinds: npt.NDArray[np.int8]

    def take(self, chosen: npt.NDArray[Any]) -> "Keys":
        """Return those of a mask or of some indices."""
        return Keys(self.rows[chosen], self.codes[chosen], self.kinds[chosen])

    @staticmethod
    def joined(parts: "Sequence[Keys]") -> "Keys":
        """Return the keys of all parts."""
        return Keys(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.kinds for part in parts]),
        )


class IssueKeys:
    """What is known of issues that came as record batches with at least the columns of `COLUMNS`.

    Attributes:
        ids: instance ids.
        dates: when the issues were opened, in seconds since 1970; not a number where that is unknown.
        is_function: which are function tasks.
        places: names of functions (``repo/module.name``), files (``repo/path``) and repositories, by number.
        place_rows: which issue is at the place of the same index in `place_ids`: a function task at its function, a repository
            task at the files that its fix changes, or, where it changes none, at a place of its own.
        place_ids: the places' numbers.
        repositories: the number of the place that is each issue's repository.
        forwards: which way round each fix is: 1 or -1, and 0 where it is the same both ways.
        statements: grams of the statements, where they were asked for.
        fixes: grams of the fixes, where they were asked for.
    """

    def __init__(
        self, batches: Iterable[pa.RecordBatch], *, with_grams: bool = False, with_content: bool = False
    ) -> None:
        """Read the batches, with the grams of their texts, and with what tells the same content under two ids."""
        self.ids: list[str] = []
        self.places: list[str] = []
        self.statements = ShingleStore() if with_grams else None
        self.fixes = ShingleStore() if with_grams else None
        self._with_content = with_content
        self._columns = {*COLUMNS, *(_CONTENT_COLUMNS if with_content else ())}
        self._place_numbers: dict[str, int] = {}
        # Columns that grow; numpy looks into them at the end.
        self._rows, self._codes, self._kinds = array("q"), array("Q"), array("b")
        self._place_rows, self._place_ids, self._repositories = array("q"), array("q"), array("q")
        self._dates, self._is_function, self._forwards = array("d"), array("b"), array("b")
        for batch in batches:
            for start in range(0, batch.num_rows, _AT_A_TIME):
                self._read(batch.slice(start, _AT_A_TIME))
        self._own = Keys(
            np.frombuffer(self._rows, np.int64),
            np.frombuffer(self._codes, np.uint64),
            np.frombuffer(self._kinds, np.int8),
        )
        self.place_rows = np.frombuffer(self._place_rows, np.int64)
        self.place_ids = np.frombuffer(self._place_ids, np.int64)
        self.repositories = np.frombuffer(self._repositories, np.int64)
        self.dates = np.frombuffer(self._dates, np.float64)
        self.is_function = np.frombuffer(self._is_function, np.int8).astype(bool)
        self.forwards = np.frombuffer(self._forwards, np.int8)

    def __len__(self) -> int:
        """Return the number of issues."""
        return len(self.ids)

    def ranks(self) -> Rows:
        """Return each issue's place in their order: by date, those without one last, then by id."""
        known = pa.array(self.dates, mask=np.isnan(self.dates))
        table = pa.table({"date": known, "id": pa.array(self.ids, pa.string()), "row": np.arange(len(self))})
        ranks = np.empty(len(self), np.int64)
        ranks[table.sort_by([("date", "ascending"), ("id", "ascending")])["row"].to_numpy()] = np.arange(len(self))
        return ranks

    def keys(self, kinds: Iterable[int]) -> Keys:
        """Return the keys of some kinds, less those of near-duplicates."""
        wanted = sorted(set(kinds))
        chosen = np.isin(self._own.kinds, wanted)
        parts = [self._own.take(chosen)]
        codes = _codes(self.places, FUNCTION)
        at_function = self.is_function[self.place_rows]
        for kind, rows, ids in (
            (FUNCTION, self.place_rows[at_function], self.place_ids[at_function]),
            (FILE, self.place_rows[~at_function], self.place_ids[~at_function]),
            (REPOSITORY, np.arange(len(self)), self.repositories),
        ):
            if kind in wanted:
                parts.append(Keys(rows, codes[ids] ^ np.uint64(kind), np.full(len(rows), kind, np.int8)))
        return Keys.joined(parts)

    def _read(self, batch: pa.RecordBatch) -> None:
        columns = {name: batch.column(name).to_pylist() for name in batch.schema.names if name in self._columns}
        first = len(self.ids)
        ids, repos, labels = columns["instance_id"], columns["repo"], columns["labels"]
        statements = [text or "" for text in columns["problem_statement"]]
        fixes = [read_fix(patch or "") for patch in columns["patch"]]
        self.ids += ids
        self._dates.extend(seconds(time or "") for time in columns["created_at"])
        are_functions = [group != repo for group, repo in zip(columns["group"], repos, strict=True)]
        self._is_function.extend(are_functions)
        self._repositories.extend(self._place(repo) for repo in repos)
        numbers: list[str] = []
        owners: list[int] = []
        commits: list[str] = []
        for row, (name, repo, group, fix, is_function, own_labels, source) in enumerate(
            zip(ids, repos, columns["group"], fixes, are_functions, labels, columns["source"], strict=True)
        ):
            files = (group,) if is_function else [f"{repo}/{file}" for file in (fix.code_files if fix else ())]
            for place in files or (f"{repo}/{name}",):
                self._place_rows.append(first + row)
                self._place_ids.append(self._place(place))
            found = _numbers(name, repo, own_labels or (), is_function=is_function)
            numbers += found
            owners += [row] * len(found)
            commits.append(_fix_commit(name, source, is_function=is_function))
        self._add(ID, first, ids)
        self._add(STATEMENT, first, [" ".join(text.lower().split()) for text in statements])
        self._add(BASE_COMMIT, first, [(commit or "").lower() for commit in columns["base_commit"]])
        self._add(FIX_COMMIT, first, commits)
        self._add(NUMBER, first, numbers, owners)
        self._add_fixes(first, fixes)
        if self._with_content:
            names = ("repo", "base_commit", "problem_statement", "patch", "test_patch", "FAIL_TO_PASS", "task")
            rows = zip(*(columns[name] for name in names), strict=True)
            # What no text holds stands between the parts.
            self._add(CONTENT, first, ["\0".join(str(value or "") for value in row) for row in rows])
        if self.statements is not None and self.fixes is not None:
            self.statements.append(*shingles_of(statements))
            self.fixes.append(*shingles_of(fix.text if fix else "" for fix in fixes))

    def _add_fixes(self, first: int, fixes: Sequence[Fix | None]) -> None:
        """Add keys that are the same for a fix and for what takes it back, and remember which way round each is."""
        present = [row for row, fix in enumerate(fixes) if fix is not None]
        files, removed, added, context = (
            _codes([getattr(fix, name) for fix in fixes if fix is not None], FIX)
            for name in ("names", "removed", "added", "context")
        )
        spread = np.uint64(0x9E3779B97F4A7C15)
        codes = (files * spread ^ context) * spread ^ np.minimum(removed, added)
        codes = codes * spread ^ np.maximum(removed, added)
        self._add_codes(FIX, first + np.array(present, np.int64), codes)
        forwards = np.zeros(len(fixes), np.int8)
        forwards[present] = np.sign((removed > added).astype(np.int8) - (removed < added).astype(np.int8))
        self._forwards.frombytes(forwards.tobytes())

    def _add(self, kind: int, first: int, values: Sequence[str], owners: Sequence[int] | None = None) -> None:
        """Add the keys of some values, where they are not empty; those of the rows from `first` on, or of `owners`."""
        rows = np.arange(len(values)) if owners is None else np.array(owners, np.int64)
        known = np.array([bool(value) for value in values], bool)
        codes = _codes([value for value in values if value], kind)
        self._add_codes(kind, first + rows[known], codes)

    def _add_codes(self, kind: int, rows: Rows, codes: Codes) -> None:
        self._rows.frombytes(rows.astype(np.int64).tobytes())
        self._codes.frombytes(codes.tobytes())
        self._kinds.frombytes(np.full(len(rows), kind, np.int8).tobytes())

    def _place(self, name: str) -> int:
        number = self._place_numbers.setdefault(name, len(self.places))
        if number == len(self.places):
            self.places.append(name)
        return number


def seconds(created_at: str) -> float:
    """Return a time in ISO 8601 as seconds since 1970, in UTC where it names no zone; not a number where it is none."""
    try:
        time = datetime.fromisoformat(created_at)
    except ValueError:
        return float("nan")
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _codes(values: Sequence[str], kind: int) -> Codes:
    """Return SipHash of each value, with a key of the kind's own."""
    from pandas.util import hash_array

    key = f"{KINDS[kind]:.<16.16}"
    return hash_array(np.array(values, object), hash_key=key, categorize=False)  # pyright: ignore


def _fix_commit(instance_id: str, source: str | None, *, is_function: bool) -> str:
    """Return the first digits of the commit that fixed an issue; nothing where it is not known."""
    if source and '"git"' in source:
        read = json.loads(source)
        if read.get("kind") == "git" and _COMMIT.fullmatch(read.get("file", "")):
            return read["file"][:_COMMIT_DIGITS]
    named = "" if is_function else instance_id.rpartition("-")[2]
    return named[:_COMMIT_DIGITS] if len(named) >= _COMMIT_DIGITS and _COMMIT.fullmatch(named) else ""


def _numbers(instance_id: str, repo: str, labels: Iterable[str], *, is_function: bool) -> set[str]:
    """Return the issues and pull requests that an issue belongs to: by its labels, and by its id where that ends so."""
    found = {
        f"{match[1] or repo}#{match[2]}".lower()
        for label in labels
        if "#" in label and (match := _NUMBER.fullmatch(label)) is not None
    }
    # SWE-bench and its kin name an issue after its repository and pull request, which has a number among the issues'.
    owner, _, number = instance_id.rpartition("-")
    if not is_function and number.isdecimal() and owner.lower() == repo.replace("/", "__").lower():
        found.add(f"{repo}#{number}".lower())
    return found
