"""Issues that have nothing in common but what a test gives them."""

import hashlib

from rllm_assets.data.issues import Case, FunctionTask, Issue, RepositoryTask, Source, unified_diff
from rllm_assets.data.splits import SIDES

_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu")


def text(number: int, words: int = 30) -> str:
    """Words that no other number has."""
    return " ".join(f"{_SYLLABLES[at % 10]}{number}x{at}" for at in range(words))


def diff(number: int, *paths: str) -> str:
    """A change of some lines in each of some files."""
    before = "".join(f"line {number} {at} {text(number, 4)}\n" for at in range(8))
    after = before.replace(f"line {number} 4", f"mended {number} 4")
    return "".join(
        f"diff --git a/{path} b/{path}\nindex {number:07x}..{number + 1:07x} 100644\n{unified_diff(before, after, path)}"
        for path in paths
    )


def function_issue(number: int, function: str = "", /, **fields: object) -> Issue:
    """An issue of a function; by default one of its own."""
    name = function or f"g{number}"
    task = FunctionTask(
        module="m", entry_point=name, buggy_code=f"b{number}", fixed_code=f"f{number}", cases=(Case(args=[number]),)
    )
    return _issue(number, {"repo": "lib", "patch": diff(number, "m.py"), "task": task, **fields})


def repository_issue(number: int, repo: str = "o/r", files: tuple[str, ...] = (), /, **fields: object) -> Issue:
    """An issue of a repository; by default its fix changes a file of its own."""
    patch = diff(number, *(files or (f"src/file{number}.py",)))
    commit = f"{number:040x}"
    known = {"repo": repo, "patch": patch, "base_commit": commit, "FAIL_TO_PASS": ["t::a"], "task": RepositoryTask()}
    return _issue(number, {**known, **fields})


def _issue(number: int, fields: dict[str, object]) -> Issue:
    known = {
        "instance_id": f"i-{number:04}x",
        "problem_statement": text(number),
        "created_at": f"20{10 + number // 300}-{1 + number // 25 % 12:02}-{1 + number % 25:02}",
        "source": Source(benchmark="b", kind="k", file="f", line=number),
    }
    return Issue.model_validate({**known, **fields})


def drawn(seed, purpose, place):
    """What the documentation says: the first 8 bytes of SHA-256 of seed, purpose and place, as a number from 0 to 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{purpose}:{place}".encode()).digest()[:8], "big") / 2**64


def where(found):
    """The side, with the fold, or the reason, of each issue by its id."""
    placed = {i.instance_id: ("train", fold) for i, fold in zip(found.train, found.folds, strict=True)}
    placed |= {i.instance_id: ("val",) for i in found.val} | {i.instance_id: ("test",) for i in found.test}
    return placed | {row.reason.partition(":")[0]: ("quarantined", row.category, row.reason) for row in found.rejected}


def place_of(name, side):
    """The first of some numbered names that the default seed puts on a side."""
    return next(found for n in range(1000) if SIDES[drawn(0, "side", found := name.format(n)) < 0.3] == side)


def seed_with(count, places):
    """The first seed that holds out so many of some places."""
    return next(seed for seed in range(1000) if sum(drawn(seed, "side", place) < 0.3 for place in places) == count)


def mined(commit):
    """The source of an issue that was mined from a commit."""
    return Source(benchmark="b", kind="git", file=commit)


# A fix that several issues may share.
ANCESTOR = diff(777, "m.py")
# Enough issues for every side.
BED = [function_issue(n) for n in range(25)]
