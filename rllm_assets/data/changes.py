"""A candidate's changes to a repository: what they are, and the tree with them applied.

A tree is a mapping of path to text. Changes are one too, with None for a file that goes.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeAlias

from rllm_assets.data.trees import ChangedTree, StoredTree

Tree: TypeAlias = Mapping[str, str]
Changes: TypeAlias = dict[str, str | None]

# The candidate that leaves a repository as it is.
UNCHANGED = ""


class ChangeError(ValueError):
    """A candidate's changes cannot be read, or do not fit the tree; the message says which one and why."""


def applied(tree: Tree, changes: Mapping[str, str | None]) -> Tree:
    """Return the tree with the changes made; of one that is stored, nothing is copied."""
    match tree:
        case StoredTree():
            return ChangedTree(tree, changes) if changes else tree
        case ChangedTree():
            return ChangedTree(tree.stored, {**tree.changes, **changes})
        case _:
            return {path: text for path, text in {**tree, **changes}.items() if text is not None}


def check_path(path: str) -> str:
    """Return a path as it stands in a tree.

    Raises:
        ChangeError: for one that leaves the repository, or reaches into its `.git`.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ChangeError(f"{path!r} is no path inside the repository")
    if any(part.lower().rstrip(". ") == ".git" for part in parts):
        raise ChangeError(f"{path!r} lies in .git")
    return str(PurePosixPath(*parts))


def lines_of(text: str) -> list[str]:
    """Return the lines of a text with their ends; only a line feed ends one, as for git."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def places(haystack: Sequence[str], needle: Sequence[str]) -> list[int]:
    """Return the indices at which the lines of `needle` stand in `haystack`, one below the other."""
    if not needle or len(needle) > len(haystack):
        return []
    first, size = needle[0], len(needle)
    return [
        index
        for index in range(len(haystack) - size + 1)
        if haystack[index] == first and list(haystack[index : index + size]) == list(needle)
    ]
