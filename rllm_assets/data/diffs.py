"""Unified diffs, applied as `git apply` does: every line of context must match, offsets are allowed, fuzz is not.

In one point this is stricter: where a hunk does not fit at its stated line but fits at several others, git takes the nearest,
and here it is refused, because nobody said which one is meant.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rllm_assets.data.changes import ChangeError, Changes, Tree, check_path, lines_of, places
from rllm_assets.data.sections import unquoted

_HUNK = re.compile(r"^@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_NOTHING = "/dev/null"
_REGULAR_MODES = ("100644", "100755", "100664")


@dataclass
class Hunk:
    """Lines to be found and lines to stand there instead, from the line `new_start` of the changed file."""

    old_start: int
    new_start: int
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    trailing_context: int = 0


@dataclass
class FileDiff:
    """The change of one file; `old` is None for a new file and `new` for one that goes."""

    old: str | None
    new: str | None
    hunks: list[Hunk] = field(default_factory=list)
    copied: bool = False


def apply_diff(tree: Tree, diff: str) -> Changes:
    """Return the changes that a unified diff makes to a tree.

    Raises:
        ChangeError: where the diff is malformed, or does not fit; the message names file, hunk and reason.
    """
    changes: Changes = {}
    files = read_diff(diff)
    if not files:
        raise ChangeError("there is no change in the diff")
    for file in files:
        old = changes.get(file.old, tree.get(file.old)) if file.old is not None else None
        if file.old is not None and old is None:
            raise ChangeError(f"{file.old}: no such file")
        if file.new is not None and file.new != file.old and changes.get(file.new, tree.get(file.new)) is not None:
            raise ChangeError(f"{file.new}: exists already")
        text = patched(old or "", file)
        if file.new is None and text:
            raise ChangeError(f"{file.old}: the diff deletes the file but not all of its lines")
        if file.old is not None and file.old != file.new and not file.copied:
            changes[file.old] = None
        if file.new is not None:
            changes[file.new] = text
    return changes


def read_diff(diff: str) -> list[FileDiff]:
    """Return the files of a unified diff, with or without git's own headers; text around them is left aside.

    Raises:
        ChangeError: where a hunk is cut off or miscounted, a header is missing, or a file is binary, a link or a submodule.
    """
    return list(_Reader(lines_of(diff)).files())


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0

    def files(self) -> Iterator[FileDiff]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.startswith("diff --git "):
                yield self._git_file()
            elif line.startswith("--- ") and self._next_starts("+++ "):
                yield self._file(None)
            elif _HUNK.match(line):
                raise ChangeError(f"line {self._at + 1}: a hunk without the names of its file above it")
            else:
                self._at += 1

    def _next_starts(self, prefix: str) -> bool:
        return self._at + 1 < len(self._lines) and self._lines[self._at + 1].startswith(prefix)

    def _git_file(self) -> FileDiff:
        """Read git's headers of one file, and its hunks where it has any."""
        header = self._lines[self._at]
        self._at += 1
        said: dict[str, str] = {}
        while self._at < len(self._lines):
            line = self._lines[self._at].rstrip("\n")
            if line.startswith(("GIT binary patch", "Binary files ")):
                raise ChangeError(f"line {self._at + 1}: a binary change; only text can be changed")
            if line.startswith("--- ") and self._next_starts("+++ "):
                return self._file(said)
            found = re.match(
                r"(old mode|new mode|deleted file mode|new file mode|rename from|rename to|copy from|copy to"
                r"|similarity index|dissimilarity index|index) (.+)",
                line,
            )
            if found is None:
                break
            said[found[1]] = found[2]
            self._at += 1
        _check_modes(said)
        for kind in ("rename", "copy"):
            if f"{kind} from" in said and f"{kind} to" in said:
                old, new = (check_path(_unquoted(said[f"{kind} {end}"])) for end in ("from", "to"))
                return FileDiff(old, new, copied=kind == "copy")
        name = _same_name(header)
        if "new file mode" in said:
            return FileDiff(None, name)
        if "deleted file mode" in said:
            return FileDiff(name, None)
        # Only the mode changes.
        return FileDiff(name, name)

    def _file(self, said: dict[str, str] | None) -> FileDiff:
        old, new = (_name(self._lines[self._at + offset], self._at + offset + 1) for offset in (0, 1))
        self._at += 2
        if said is not None:
            _check_modes(said)
        if old is None and new is None:
            raise ChangeError(f"line {self._at}: both names are /dev/null")
        # Without git's word for a rename or a copy, one file has one name.
        is_moved = said is not None and not said.keys().isdisjoint(("rename from", "copy from"))
        if None not in (old, new) and old != new and not is_moved:
            raise ChangeError(f"line {self._at}: the names {old} and {new} differ; write a rename as git does")
        file = FileDiff(old, new, copied="copy from" in (said or {}))
        while self._at < len(self._lines) and (match := _HUNK.match(self._lines[self._at])):
            file.hunks.append(self._hunk(match))
        if not file.hunks:
            raise ChangeError(f"line {self._at}: no hunk follows the names of {new or old}")
        return file

    def _hunk(self, match: re.Match[str]) -> Hunk:
        began = self._at + 1
        old_left, new_left = (int(match[group]) if match[group] is not None else 1 for group in (2, 4))
        hunk = Hunk(int(match[1]), int(match[3]))
        self._at += 1
        while old_left > 0 or new_left > 0:
            line = self._lines[self._at] if self._at < len(self._lines) else ""
            kind, text = line[:1], line[1:]
            # Some mail programs and most models drop the blank of an empty line of context.
            if line == "\n":
                kind, text = " ", "\n"
            if kind not in (" ", "-", "+") or not line:
                raise ChangeError(
                    f"line {self._at + 1}: the hunk of line {began} ends early; its header says {old_left} more lines of "
                    f"the old file and {new_left} of the new"
                )
            if kind in " -":
                hunk.before.append(text)
                old_left -= 1
            if kind in " +":
                hunk.after.append(text)
                new_left -= 1
            if old_left < 0 or new_left < 0:
                raise ChangeError(f"line {self._at + 1}: the hunk of line {began} has more lines than its header says")
            hunk.trailing_context = hunk.trailing_context + 1 if kind == " " else 0
            self._at += 1
            self._cut_newline(hunk, kind)
        following = self._lines[self._at] if self._at < len(self._lines) else ""
        if following[:1] in (" ", "+") or (following[:1] == "-" and not following.startswith("--")):
            raise ChangeError(f"line {self._at + 1}: the hunk of line {began} has more lines than its header says")
        return hunk

    def _cut_newline(self, hunk: Hunk, kind: str) -> None:
        """Take the line feed off the last line where the diff says that the file has none."""
        if self._at < len(self._lines) and self._lines[self._at].startswith("\\ "):
            for side, kinds in ((hunk.before, " -"), (hunk.after, " +")):
                if kind in kinds:
                    side[-1] = side[-1].removesuffix("\n")
            self._at += 1


def _check_modes(said: dict[str, str]) -> None:
    for key in ("old mode", "new mode", "deleted file mode", "new file mode"):
        if said.get(key, _REGULAR_MODES[0]) not in _REGULAR_MODES:
            raise ChangeError(f"{key} {said[key]}: only regular files can be changed, no links and no submodules")


def _name(line: str, number: int) -> str | None:
    """Return the path of a ``---`` or ``+++`` line without its first component."""
    name = _unquoted(line[4:].rstrip("\r\n").split("\t")[0])
    if name == _NOTHING:
        return None
    _, separator, path = name.partition("/")
    if not separator:
        raise ChangeError(f"line {number}: {name!r} lacks the prefix a/ or b/")
    return check_path(path)


def _same_name(header: str) -> str:
    """Return the path of a ``diff --git a/x b/x`` line, which stands there twice."""
    names = header.removeprefix("diff --git ").rstrip("\r\n")
    if names.startswith('"'):
        return check_path(_unquoted(names[: names.index('" ') + 1]).partition("/")[2])
    half = names[: len(names) // 2]
    if names != f"{half} b/{half.partition('/')[2]}":
        raise ChangeError(f"{header.rstrip()}: the names differ and no rename is stated")
    return check_path(half.partition("/")[2])


def _unquoted(name: str) -> str:
    try:
        return unquoted(name)
    except ValueError as error:
        raise ChangeError(str(error)) from None


def patched(text: str, file: FileDiff) -> str:
    """Return a file's text as its part of a diff leaves it.

    Raises:
        ChangeError: where a hunk does not fit.
    """
    lines = lines_of(text)
    name = file.new or file.old
    # Lines below this index were written by hunks before, and none may touch them again.
    done = 0
    for number, hunk in enumerate(file.hunks, start=1):
        try:
            at = _place(lines, hunk, done)
        except ChangeError as error:
            raise ChangeError(f"{name}: hunk {number} of {len(file.hunks)} {error}") from None
        lines[at : at + len(hunk.before)] = hunk.after
        done = at + len(hunk.after)
    return "".join(lines)


def _place(lines: list[str], hunk: Hunk, done: int) -> int:
    """Return where a hunk fits: git's `find_pos`, except that several places beside the stated one are refused."""
    size = len(hunk.before)
    # Git's rules: a hunk of the first line stays there, and one without context below it ends the file.
    at_beginning, at_end = hunk.old_start <= 1, hunk.trailing_context == 0
    if not hunk.before:
        if lines and at_beginning:
            raise ChangeError("adds lines to an empty file, which is not empty")
        return len(lines)
    fits = [
        index
        for index in places(lines, hunk.before)
        if index >= done and (not at_beginning or index == 0) and (not at_end or index + size == len(lines))
    ]
    stated = max(0, hunk.new_start - 1)
    if stated in fits:
        return stated
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise ChangeError(f"does not fit: {_mismatch(lines, hunk, stated)}")
    where = ", ".join(str(index + 1) for index in fits[:5])
    raise ChangeError(f"is ambiguous: its lines stand at {where}, and not at line {stated + 1} as it says")


def _mismatch(lines: list[str], hunk: Hunk, stated: int) -> str:
    """Return the first line that differs at the stated place."""
    for offset, wanted in enumerate(hunk.before):
        found = lines[stated + offset] if stated + offset < len(lines) else None
        if found != wanted:
            is_there = "the file ends" if found is None else f"it is {found.rstrip()[:80]!r}"
            return f"line {stated + offset + 1} should be {wanted.rstrip()[:80]!r}, {is_there}"
    return "its lines are there, but not where a hunk without context above or below may stand"


def written_diff(tree: Tree, changes: Mapping[str, str | None]) -> str:
    """Return changes to a tree as `git diff` prints them; `apply_diff` reads them back."""
    return "".join(_file_diff(path, tree.get(path), after) for path, after in sorted(changes.items()))


def _file_diff(path: str, before: str | None, after: str | None) -> str:
    if before == after:
        return ""
    sides = lines_of(before or ""), lines_of(after or "")
    body = list(difflib.unified_diff(*sides, f"a/{path}", f"b/{path}", n=3))
    body = [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in body]
    head = [f"diff --git a/{path} b/{path}\n"]
    if before is None:
        head.append("new file mode 100644\n")
        body[:1] = ["--- /dev/null\n"] if body else []
    if after is None:
        head.append("deleted file mode 100644\n")
        body[1:2] = ["+++ /dev/null\n"] if body else []
    return "".join([*head, *body])
