"""Trees of repositories, in few bytes and without copies: a commit's files in one block, and changes that lie on top of it.

A tree is a mapping of path to text. One of thousands of files goes from attempt to attempt as the block that git wrote; a text
is made of it where somebody looks at it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

# Offset and size.
Place: TypeAlias = tuple[int, int]


class StoredTree(Mapping[str, str]):
    """The files of a commit; bytes that are no UTF-8 are surrogates."""

    def __init__(self, data: bytes, places: Mapping[str, Place]) -> None:
        """Take a block of bytes, and where in it each file stands."""
        self.data = data
        self.places = places

    def __getitem__(self, path: str) -> str:
        start, size = self.places[path]
        return self.data[start : start + size].decode(errors="surrogateescape")

    def __contains__(self, path: object) -> bool:
        return path in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class ChangedTree(Mapping[str, str]):
    """A stored tree with changes."""

    def __init__(self, stored: StoredTree, changes: Mapping[str, str | None]) -> None:
        """Take what is below and what lies on top; None is a file that has gone."""
        self.stored = stored
        self.changes = changes

    def __getitem__(self, path: str) -> str:
        text = self.changes[path] if path in self.changes else self.stored[path]
        if text is None:
            raise KeyError(path)
        return text

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.changes.get(path, self.stored.places.get(path)) is not None

    def __iter__(self) -> Iterator[str]:
        yield from (path for path in self.stored if path not in self.changes)
        yield from (path for path, text in self.changes.items() if text is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def as_block(tree: Mapping[str, str]) -> tuple[Sequence[bytes], dict[str, Place]]:
    """Return a tree as bytes in parts, and where in all of them together each file stands."""
    match tree:
        case StoredTree():
            stored, on_top = tree, {}
        case ChangedTree():
            stored, on_top = tree.stored, tree.changes
        case _:
            stored, on_top = StoredTree(b"", {}), tree
    places = {path: place for path, place in stored.places.items() if path not in on_top}
    parts, at = [stored.data], len(stored.data)
    for path, text in on_top.items():
        if text is not None:
            data = text.encode(errors="surrogateescape")
            parts.append(data)
            places[path] = (at, len(data))
            at += len(data)
    return parts, places
