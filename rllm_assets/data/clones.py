"""Clones of repositories: their history, trees and diffs, by `git` itself and without a checkout.

A clone is foreign: nothing that its configuration names is run, neither hooks nor filters nor external diffs.
"""

import functools
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rllm_assets.data.trees import Place, StoredTree

# A tree goes into the sandbox as one message, into a directory of `rllm_assets.verification.repositories.LIMITS`.
_LARGEST_TREE = 128 << 20
_REGULAR = ("100644", "100755", "100664")
_SECONDS = 300


class CloneError(ValueError):
    """A clone is missing or cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Commit:
    """A commit, its first parent (empty for the root), the author's time in ISO 8601, and its message."""

    hash: str
    parent: str
    time: str
    message: str


@dataclass(frozen=True)
class ChangedFile:
    """A file that a commit changed; `status` is git's letter, A, M, D or T."""

    path: str
    status: str
    is_binary: bool


def is_clone(path: Path) -> bool:
    """Tell whether a directory is the top of a clone, bare or with a checkout; whether it can be used is another question."""
    return (path / ".git").exists() or ((path / "HEAD").is_file() and (path / "objects").is_dir())


def find_clone(folder: Path, repo: str) -> Path | None:
    """Return the clone of owner/name in a folder of clones: ``owner__name``, or ``name``; None where there is none."""
    for name in (repo.replace("/", "__"), repo.rpartition("/")[2]):
        if name.strip(".") and (folder / name).is_dir():
            return folder / name
    return None


def check_clone(path: Path) -> None:
    """Check that there is a clone with a history.

    Raises:
        CloneError: where there is none, it is empty, or it is shallow, so that most commits lack their parents.
    """
    if not path.is_dir():
        raise CloneError(f"{path} is no directory; a local clone is expected")
    try:
        _git(path, "rev-parse", "--git-dir")
    except CloneError as error:
        raise CloneError(f"{path} is no git repository: {error}") from None
    if not _git(path, "rev-list", "--max-count=1", "--all").strip():
        raise CloneError(f"{path} has no commit")
    if _git(path, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise CloneError(f"{path} is a shallow clone, whose history is cut off; run git fetch --unshallow in it")


def head(path: Path, revision: str = "HEAD") -> str:
    """Return the hash of a revision's commit.

    Raises:
        CloneError: as `check_clone`, and where there is no such revision.
    """
    check_clone(path)
    return _git(path, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()


def remote(path: Path) -> str:
    """Return the address that a clone came from.

    Raises:
        CloneError: where it knows none.
    """
    return _git(path, "config", "--get", "remote.origin.url").decode().strip()


def first_parents(path: Path, revision: str = "HEAD") -> Iterator[Commit]:
    """Yield the commits of a branch, newest first, each merge as one.

    Raises:
        CloneError: where there is no such revision.
    """
    # A name that looks like an option is none.
    yield from _log(path, head(path, revision))


def last_commits(path: Path, commit: str, count: int) -> list[Commit]:
    """Return a commit and those before it on its first-parent line, newest first, `count` or as many as there are.

    Raises:
        CloneError: where there is no such commit.
    """
    return list(_log(path, commit, f"--max-count={count}"))


def commit_time(path: Path, commit: str) -> str:
    """Return when a commit was made, in ISO 8601.

    Raises:
        CloneError: where there is no such commit.
    """
    return _git(path, "show", "--no-patch", "--format=%cI", f"{commit}^{{commit}}", "--").decode().strip()


def commits_here(path: Path, commits: Iterable[str]) -> set[str]:
    """Return those commits, given as whole hashes, that a clone holds."""
    asked = sorted(set(commits))
    said = _git(path, "cat-file", "--batch-check", stdin="".join(f"{name}\n" for name in asked).encode())
    return {line.split()[0] for line in said.decode().splitlines() if line.split()[1] == "commit"}


def _log(path: Path, commit: str, *options: str) -> Iterator[Commit]:
    log = _git(path, "log", "-z", "--first-parent", "--format=%H%n%P%n%aI%n%B", *options, commit, "--")
    for record in log.decode(errors="replace").split("\0"):
        if record:
            name, parents, time, message = record.split("\n", 3)
            yield Commit(name, parents.partition(" ")[0], time, message.strip())


def changed_files(path: Path, base: str, commit: str) -> list[ChangedFile]:
    """Return the regular files that differ between two commits; a rename is a deletion and a new file."""
    options = ("diff", "-z", "--no-renames", "--raw", "--numstat", "--ignore-submodules", base, commit, "--")
    parts = _git(path, *options).decode(errors="surrogateescape").split("\0")
    statuses: dict[str, str] = {}
    binaries: set[str] = set()
    at = 0
    while at < len(parts) - 1:
        if parts[at].startswith(":"):
            old_mode, new_mode, *_, status = parts[at][1:].split(" ")
            if {old_mode, new_mode} <= {*_REGULAR, "000000"}:
                statuses[parts[at + 1]] = status
            at += 2
        else:
            added, _, name = parts[at].split("\t")
            if added == "-":
                binaries.add(name)
            at += 1
    return [ChangedFile(name, status, name in binaries) for name, status in statuses.items()]


def diff(path: Path, base: str, commit: str, files: Sequence[str]) -> str:
    """Return the change of some files between two commits."""
    if not files:
        return ""
    options = (
        "diff",
        "--no-renames",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    )
    return _git(path, "--literal-pathspecs", *options, base, commit, "--", *files).decode(errors="surrogateescape")


@functools.lru_cache(maxsize=4)
def tree(path: Path, commit: str) -> StoredTree:
    """Return the regular files of a commit, without its `.git`. Links and submodules are left out.

    Raises:
        CloneError: where the commit is not there, or its files are larger than 128 MiB together.
    """
    listing = _git(path, "ls-tree", "-r", "-z", "--full-tree", "--long", f"{commit}^{{commit}}")
    files: dict[str, str] = {}
    total = 0
    for entry in listing.split(b"\0"):
        if entry:
            about, name = entry.split(b"\t", 1)
            mode, kind, blob, size = about.decode().split()
            if kind == "blob" and mode in _REGULAR:
                files[name.decode(errors="surrogateescape")] = blob
                total += int(size)
    if total > _LARGEST_TREE:
        raise CloneError(f"{path}: the tree of {commit} has {total >> 20} MiB, more than {_LARGEST_TREE >> 20}")
    data, places = _blobs(path, sorted(set(files.values())))
    return StoredTree(data, {name: places[blob] for name, blob in files.items()})


def _blobs(path: Path, names: Sequence[str]) -> tuple[bytes, dict[str, Place]]:
    """Return what git writes of some blobs, and where in it each stands."""
    data = _git(path, "cat-file", "--batch", stdin="".join(f"{name}\n" for name in names).encode())
    places: dict[str, Place] = {}
    at = 0
    for name in names:
        end = data.index(b"\n", at)
        # Where a partial clone lacks an object, git says so in place of its size.
        header = data[at:end].decode().split()
        if len(header) != 3:
            raise CloneError(f"{path}: object {name} is missing; the clone must be complete")
        size = int(header[2])
        places[name] = (end + 1, size)
        at = end + 1 + size + 1
    return data, places


def _git(path: Path, *command: str, stdin: bytes = b"") -> bytes:
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ},
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }
    arguments = ["git", "-C", str(path), "-c", "core.fsmonitor=false", "-c", "core.quotePath=true", *command]
    try:
        done = subprocess.run(
            arguments, input=stdin, capture_output=True, check=False, env=environment, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise CloneError("git is not installed; on Debian: apt-get install git") from None
    except subprocess.TimeoutExpired:
        raise CloneError(f"{path}: git {command[0]} took longer than {_SECONDS} seconds") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise CloneError(f"{path}: git: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout
