"""A library in a clone and at a GitHub of our own, with pull requests merged in each of GitHub's ways."""

from dataclasses import dataclass
from pathlib import Path

from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.data.sources import github as source
from tests.data.fake_github import FakeGitHub
from tests.data.repositories import commit, git

REPO = "o/calc"


@dataclass(frozen=True)
class History:
    """A clone, and the hashes of its commits by name."""

    clone: Path
    hashes: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.hashes[name]


def _at(day: str) -> str:
    return f"2024-{day}T12:00:00+00:00"


def _change(name: str, value: int) -> dict[str, str | bytes | None]:
    test = f"from calc.{name} import {name}\n\n\ndef test_{name}():\n    assert {name}() == {value}\n"
    return {f"calc/{name}.py": f"def {name}():\n    return {value}\n", f"tests/test_{name}.py": test}


def make_history(clone: Path) -> History:
    """Make the clone: a squashed, a merged and a rebased fix, one without a test, and one that closes nothing."""
    made: dict[str, str] = {}
    start = {f"calc/{name}.py": f"def {name}():\n    return 0\n" for name in ("one", "two", "three", "four", "five")}
    made["start"] = commit(clone, "Begin", {"calc/__init__.py": "", "NEWS": "-\n", **start}, when=_at("01-10"))
    squashed = {**_change("one", 1), "NEWS": "one\n", "logo.png": b"\x89PNG\0\1"}
    made["one"] = commit(clone, "one returns one (#10)", squashed, when=_at("02-01"))
    git(clone, "checkout", "-q", "-b", "side")
    commit(clone, "Test two", {"tests/test_two.py": _change("two", 2)["tests/test_two.py"]}, when=_at("01-20"))
    commit(clone, "Mend two", {"calc/two.py": _change("two", 2)["calc/two.py"]}, when=_at("01-21"))
    git(clone, "checkout", "-q", "main")
    git(clone, "merge", "-q", "--no-ff", "-m", "Merge pull request #11 from o/side\n\nTwo", "side", when=_at("02-02"))
    made["two"] = git(clone, "rev-parse", "HEAD")
    commit(clone, "Mend three", {"calc/three.py": _change("three", 3)["calc/three.py"]}, when=_at("02-03"))
    three = {"tests/test_three.py": _change("three", 3)["tests/test_three.py"]}
    made["three"] = commit(clone, "Test three\n\nCloses #3", three, when=_at("02-03"))
    made["four"] = commit(clone, "Four (#13)", {"calc/four.py": "def four():\n    return 4\n"}, when=_at("02-04"))
    made["five"] = commit(clone, "Five (#14)", _change("five", 5), when=_at("02-05"))
    made["head"] = commit(clone, "Release", {"NEWS": "released\n"}, when=_at("03-01"))
    return History(clone, made)


def publish(history: History, github: FakeGitHub) -> None:
    """Put the pull requests of a history, their issues and what was said about them at a GitHub."""
    issue, pull = github.issue, github.pull
    issue(REPO, 1, "one is wrong", "It returns 0.\r\nIt should not.", labels=["bug"], created_at="2024-01-05T10:00:00Z")
    issue(REPO, 2, "two is wrong", created_at="2024-01-06T10:00:00Z")
    issue(REPO, 3, "three is wrong", "See `three()`.", labels=["bug", "help wanted"], created_at="2024-01-07T10:00:00Z")
    issue(REPO, 4, "four is wrong", "x", created_at="2024-01-08T10:00:00Z")
    github.comment(REPO, 1, "I see it too.", "2024-01-06T00:00:00Z")
    github.comment(REPO, 1, "Edited when the fix was there.", "2024-01-07T00:00:00Z", "2024-02-01T00:00:00Z")
    github.comment(REPO, 1, "Try `1 + 0`.", "2024-01-14T23:59:59Z")
    github.comment(REPO, 1, "Fixed in #10.", "2024-02-01T12:30:00Z")
    pull(
        REPO,
        10,
        "one returns one",
        "Fixes #1",
        base=history["start"],
        merge_commit_sha=history["one"],
        merged_at="2024-02-01T12:00:02Z",
        commits=[("2024-01-15T00:00:00Z", "Mend one"), ("2024-01-16T00:00:00Z", "Again")],
        closes=[1],
        labels=["size/S"],
    )
    pull(
        REPO,
        11,
        "Two",
        "closes: #2",
        base=history["start"],
        merge_commit_sha=history["two"],
        merged_at="2024-02-02T12:00:01Z",
        commits=[("2024-01-20T12:00:00Z", "Test two"), ("2024-01-21T12:00:00Z", "Mend two")],
        closes=[2],
    )
    # A keyword in a commit's message closes an issue, and links nothing.
    pull(
        REPO,
        12,
        "Three",
        None,
        base=history["one"],
        merge_commit_sha=history["three"],
        merged_at="2024-02-03T12:00:01Z",
        commits=[("2024-01-22T12:00:00Z", "Mend three"), ("2024-01-22T12:00:00Z", "Test three\n\nCloses #3")],
    )
    pull(
        REPO,
        13,
        "Four",
        "resolve #4",
        base=history["three"],
        merge_commit_sha=history["four"],
        merged_at="2024-02-04T12:00:01Z",
        commits=[("2024-02-04T11:00:00Z", "Four")],
        closes=[4],
    )
    pull(
        REPO,
        14,
        "Five",
        "<!-- Fixes #1 --> Prettier than #1",
        base=history["four"],
        merge_commit_sha=history["five"],
        merged_at="2024-02-05T12:00:01Z",
        commits=[("2024-02-05T11:00:00Z", "Five")],
    )
    pull(REPO, 15, "Never mind", "Fixes #1", merged_at=None, updated_at="2024-02-06T00:00:00Z")


def read(github, clone, **options):
    """Return the issues, and the rows that are none, of a reading."""
    options = {"repo": REPO, "api": github.address, "clock": github.clock.clock, **options}
    found = list(source.read(clone, "bench", **options))
    return [row for row in found if isinstance(row, Issue)], [row for row in found if isinstance(row, Rejected)]


def kept(cache, name):
    """Return a file of what is kept."""
    (path,) = cache.glob(f"github/*__o__calc/{name}")
    return path
