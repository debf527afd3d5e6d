"""Writing samples as files, and reading them back."""

import json
from pathlib import Path
from typing import Any

from rllm_assets.data.issues import Rejected
from rllm_assets.data.readers import read_trajectories
from rllm_assets.data.readers.records import ImportedTrajectory


def write(path: Path, value: Any) -> Path:
    """Write a value as JSON, as an agent would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))
    return path


def write_lines(path: Path, values: list[Any]) -> Path:
    """Write values as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def read_one(path: Path, **options: Any) -> ImportedTrajectory:
    """Read a file that holds one run."""
    (found,) = read_trajectories(path, **options)
    assert isinstance(found, ImportedTrajectory), str(found)
    return found


def rejected_one(path: Path, **options: Any) -> Rejected:
    """Read a file that holds nothing but one row that cannot be read."""
    (found,) = read_trajectories(path, **options)
    assert isinstance(found, Rejected)
    return found


def texts(found: ImportedTrajectory) -> list[tuple[str, Any]]:
    """Return role and content of each message."""
    return [(message["role"], message["content"]) for message in found.messages]


def call(call_id: str, command: str, name: str = "bash") -> dict[str, Any]:
    """Return a call of a tool in OpenAI's form."""
    arguments = json.dumps({"command": command})
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
