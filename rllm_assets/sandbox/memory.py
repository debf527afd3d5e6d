"""How much memory a process has with all its descendants, read from outside through /proc."""

import functools
import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
    """Return the pids of all processes below `pid`, itself not among them."""
    children_of = _children if _lists_children() else _all_children().get
    found: list[int] = []
    front = [pid]
    while front:
        children = children_of(front.pop()) or []
        found += children
        front += children
    return found


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


@functools.cache
def _lists_children() -> bool:
    # gVisor's /proc does not.
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _all_children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.setdefault(parent, []).append(int(entry.name))
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        # It ended meanwhile.
        pass
    return found
