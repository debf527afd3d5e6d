"""Commands of an agent: run in a fresh sandbox each, on a tree that is kept out here between them."""

import json
import shutil
from dataclasses import dataclass
from typing import Any, NamedTuple

from rllm_assets.data.changes import ChangeError, Changes, Tree, check_path
from rllm_assets.data.issues import Issue
from rllm_assets.data.trees import as_block
from rllm_assets.sandbox.jobs import Job, Limits, Outcome, Program

SHELL = Program(
    modules=("rllm_assets.verification.tree_program", "rllm_assets.verification.shell_program"),
    distributions=("pytest",),
    commands=True,
)
LIMITS = Limits(memory_mb=1024, processes=64, open_files=256, disk_mb=256, disk_files=20_000, result_bytes=32 << 20)
# For the tree to be laid out and read back around the command.
_AROUND_SECONDS = 10.0


class Command(NamedTuple):
    """A command of an agent: what it works on, the tree as it has made it so far, and the line for the shell."""

    issue: Issue
    tree: Tree
    line: str


@dataclass(frozen=True)
class Ran:
    """What came of a command: the changes that it made to the tree, and what is to be said of it.

    `code` is its exit code; None where it was ended for its time or its memory. Nothing in it can be believed beyond that: a
    command may print what it likes. `failure` is the sandbox's own, which says nothing of the command.
    """

    changes: Changes
    output: str
    code: int | None
    failure: str = ""


def is_available() -> bool:
    """Whether this machine has a shell to run commands with."""
    return shutil.which("sh", path="/bin:/usr/bin") is not None


def shell_job(command: Command, seconds: float) -> Job:
    """Return the job that runs a command in its tree, for so many seconds at most."""
    parts, places = as_block(command.tree)
    job = json.dumps({"tree": places, "command": command.line, "seconds": seconds}).encode()
    payload = b"".join([len(job).to_bytes(8, "big"), job, *parts])
    return Job(SHELL.modules[-1], payload, seconds + _AROUND_SECONDS, LIMITS)


def what_ran(outcome: Outcome) -> Ran:
    """Return what came of a command, from what its job wrote."""
    reasons = {
        "timeout": "out of time",
        "out_of_memory": "out of memory",
        "flooded": "it left more than can be read back",
    }
    if outcome.ended in reasons:
        return Ran({}, f"[{reasons[outcome.ended]}; the files are as they were before]", None)
    try:
        return _read(json.loads(outcome.result))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Ran({}, "[the command ended its sandbox; the files are as they were before]", None)


def _read(answer: Any) -> Ran:
    changes: Changes = {}
    for path, text in answer["changed"].items():
        try:
            changes[check_path(path)] = text if text is None else str(text)
        except ChangeError:
            continue
    output = str(answer["output"])
    code = answer["code"]
    if unreadable := answer["unreadable"]:
        output += f"\n[not kept, for they are no text or too large: {', '.join(map(str, unreadable))}]"
    if code is None:
        return Ran(changes, f"{output}\n[out of time]", None)
    return Ran(changes, output, int(code))
