"""Checkpoints of a training run: whole or not there, the newest that is undamaged is resumed.

Every draw of a run is a function of its seed and the step, and so is the learning rate, but for the draws of the curriculum,
whose generator is part of the state. Nothing else is random: dropout is off.
"""

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from rllm_assets.data.files import atomic_directory
from rllm_assets.data.hashing import content_hash, file_hash
from rllm_assets.models.policy import Policy
from rllm_assets.training.update import Optimizers


class CheckpointError(RuntimeError):
    """A checkpoint belongs to another run, or none of those there can be read."""


@dataclass
class RunState:
    """Where a run stands between two steps; `identity` is everything that its result depends on, by dotted key."""

    identity: Mapping[str, Any]
    step: int = 0
    seconds: float = 0.0
    best_step: int = -1
    best_score: float = -1.0
    evaluations_since_best: int = 0
    informative_steps: int = 0
    bad_losses_in_a_row: int = 0
    curriculum: dict[str, Any] = field(default_factory=dict)


_STATE = "state.json"
_OPTIMIZERS = "optimizers.pt"
_CRITIC = "critic.safetensors"

# What reading a state raises where its files are not what was written.
_DAMAGED = (OSError, ValueError, TypeError, LookupError, AttributeError)


def save(directory: Path, state: RunState, policy: Policy, optimizers: Optimizers, keep: int) -> None:
    """Write the checkpoint of `state.step` and remove all but the last `keep`."""
    with atomic_directory(directory / _name(state.step)) as target:
        policy.save_adapter(target)
        if policy.critic_head is not None:
            policy.save_critic(target / _CRITIC)
        critic = optimizers.critic and optimizers.critic.state_dict()
        # Through memory: torch's own writer does not say that a disk is full.
        buffer = io.BytesIO()
        torch.save({"policy": optimizers.policy.state_dict(), "critic": critic}, buffer)
        (target / _OPTIMIZERS).write_bytes(buffer.getbuffer())
        content = {"state": asdict(state), "files": {file.name: file_hash(file) for file in target.iterdir()}}
        written = {**content, "content_hash": content_hash(content)}
        (target / _STATE).write_text(json.dumps(written), encoding="utf-8")
    for old in _steps(directory)[:-keep]:
        shutil.rmtree(directory / _name(old), ignore_errors=True)


def resume(directory: Path, identity: Mapping[str, Any], policy: Policy, optimizers: Optimizers) -> RunState | None:
    """Load the newest checkpoint that is undamaged; None where there is none at all.

    Raises:
        CheckpointError: where checkpoints of another run lie here, or all of those here are damaged.
    """
    problems: list[str] = []
    for step in reversed(_steps(directory)):
        path = directory / _name(step)
        try:
            state = _read_state(path, with_files=True)
        except _DAMAGED as error:
            problems.append(f"{path.name}: {error}")
            continue
        if differences := _differences(identity, state.identity):
            raise CheckpointError(
                f"{path} belongs to a run with another model, configuration or data ({differences}); "
                f"remove {directory} to start anew"
            )
        policy.load_adapter(path)
        if policy.critic_head is not None:
            policy.load_critic(path / _CRITIC)
        loaded = torch.load(path / _OPTIMIZERS, map_location=policy.device, weights_only=True)
        optimizers.policy.load_state_dict(loaded["policy"])
        if optimizers.critic is not None:
            optimizers.critic.load_state_dict(loaded["critic"])
        return state
    if problems:
        raise CheckpointError(
            f"no checkpoint in {directory} can be read ({'; '.join(problems)}); remove it to start anew"
        )
    return None


def best_steps(directory: Path) -> set[int]:
    """Return the step of the best adapter that each checkpoint knows."""
    found: set[int] = set()
    for step in _steps(directory):
        try:
            found.add(_read_state(directory / _name(step), with_files=False).best_step)
        except _DAMAGED:
            continue
    return found


def _read_state(path: Path, *, with_files: bool) -> RunState:
    """Return the state of a checkpoint that is the one that was written, and, if asked for, whose files are."""
    content = json.loads((path / _STATE).read_text(encoding="utf-8"))
    if content.pop("content_hash") != content_hash(content):
        raise ValueError(f"{_STATE} is damaged")
    for name, expected in content["files"].items():
        if with_files and file_hash(path / name) != expected:
            raise ValueError(f"{name} is damaged")
    return RunState(**content["state"])


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    keys = [key for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]
    told = [f"{key} is {here.get(key)} now and was {there.get(key)}" for key in keys[:3]]
    return ", ".join([*told, f"and {len(keys) - 3} more"] if len(keys) > 3 else told)


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _steps(directory: Path) -> list[int]:
    names = directory.glob("step-*") if directory.is_dir() else ()
    return sorted(int(path.name.removeprefix("step-")) for path in names)
