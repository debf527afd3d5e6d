"""Inside the sandbox: write a tree from the job's payload into this directory. Standard library only."""
# ruff: noqa: PTH103, PTH120

import os

_BLOCK = 1 << 20


def lay_out(payload: int, start: int, places: dict[str, list[int]]) -> None:
    """Write each file: `places` says where it stands in the payload behind `start`, and its size.

    Raises:
        ValueError: for a path that leads out of this directory.
    """
    made = {""}
    for path, (offset, size) in places.items():
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"{path!r} is no path inside the repository")
        folder = os.path.dirname(path)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            at = start + offset
            end = at + size
            while at < end:
                at += os.write(file, os.pread(payload, min(_BLOCK, end - at), at))
        finally:
            os.close(file)


def content(payload: int, start: int, place: list[int]) -> bytes:
    """Return a file as it stands in the payload."""
    return os.pread(payload, place[1], start + place[0])
