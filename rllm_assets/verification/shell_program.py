"""Inside the sandbox: lay out a tree, run one command of an agent in it, and tell what came of the tree.

Whatever the command does to this process, it can only change what it is seen to have done to its own tree, which is what it
is there for. Standard library only.
"""
# ruff: noqa: PTH103, PTH109, PTH113, PTH114, PTH118, PTH123, PTH202, PTH211

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from rllm_assets.verification import tree_program

_ROOT, _BIN, _OUTPUT = "repo", "bin", "output"
_SKIPPED = {"__pycache__", ".pytest_cache", ".git", ".ruff_cache", ".mypy_cache"}
_LARGEST_FILE = 1 << 20
_MOST_FILES = 20_000
_KEPT_OUTPUT = 1 << 16


def main(payload: int, result: int) -> None:
    """Read a job from `payload` and write what came of it to `result`, as one JSON object."""
    length = int.from_bytes(os.pread(payload, 8, 0), "big")
    job = json.loads(os.pread(payload, length, 8))
    home = os.getcwd()
    root = os.path.join(home, _ROOT)
    os.makedirs(root)
    os.makedirs(os.path.join(home, _BIN))
    os.chdir(root)
    tree_program.lay_out(payload, 8 + length, job["tree"])
    os.chdir(home)
    for name in ("python", "python3"):
        os.symlink(sys.executable, os.path.join(home, _BIN, name))
    code = _run(job, home, root)
    changed, unreadable = _changes(job["tree"], root, lambda place: tree_program.content(payload, 8 + length, place))
    answer = {"code": code, "output": _output(home), "changed": changed, "unreadable": unreadable}
    data = json.dumps(answer).encode()
    while data:
        data = data[os.write(result, data) :]


def _run(job: dict, home: str, root: str) -> int | None:
    """Run the command with a shell; return its exit code, or None where its time ran out."""
    environment = {
        "PATH": os.pathsep.join([os.path.join(home, _BIN), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": home,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
    with open(os.path.join(home, _OUTPUT), "wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", job["command"]],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(job["seconds"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


def _output(home: str) -> str:
    """Return what the command printed: all of it, or its beginning and its end."""
    with open(os.path.join(home, _OUTPUT), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= _KEPT_OUTPUT:
            return file.read().decode("utf-8", "replace")
        first = file.read(_KEPT_OUTPUT // 2)
        file.seek(size - _KEPT_OUTPUT // 2)
        last = file.read()
    left_out = f"\n[{size - len(first) - len(last)} bytes left out]\n"
    return first.decode("utf-8", "replace") + left_out + last.decode("utf-8", "replace")


def _changes(before: dict, root: str, content: Callable[[list[int]], bytes]) -> tuple[dict, list]:
    """Return the texts that are new or other than before, None for those that are gone, and what is no text."""
    changed: dict[str, str | None] = {}
    unreadable: list[str] = []
    seen = set()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(names):
            full = os.path.join(folder, name)
            path = os.path.relpath(full, root)
            seen.add(path)
            # What was there already may be as large as it likes, and no text.
            known = content(before[path]) if path in before else b""
            data = _read(full, max(_LARGEST_FILE, len(known)))
            if path in before and data == known:
                continue
            text = _text(data)
            if text is None or len(seen) > _MOST_FILES:
                unreadable.append(path)
            else:
                changed[path] = text
    for path in before:
        if path not in seen and not _SKIPPED & set(path.split("/")):
            changed[path] = None
    return changed, unreadable[:20]


def _read(path: str, most: int) -> bytes | None:
    try:
        if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > most:
            return None
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _text(data: bytes | None) -> str | None:
    try:
        return data.decode() if data is not None and len(data) <= _LARGEST_FILE else None
    except UnicodeDecodeError:
        return None
