"""Checkpoints of a training run: whole or not there, the newest that can be read is resumed."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from rllm_assets.data.files import atomic_directory
from rllm_assets.models.embedded import ModelError
from rllm_assets.models.policy import Policy
from rllm_assets.training.update import Optimizers


class CheckpointError(RuntimeError):
    """A checkpoint belongs to another run, or none of those there can be read."""


@dataclass
class RunState:
    """Where a run stands between two steps."""

    run_key: str
    step: int = 0
    seconds: float = 0.0
    best_step: int = -1
    best_score: float = -1.0
    evaluations_since_best: int = 0
    informative_steps: int = 0
    curriculum: dict[str, Any] = field(default_factory=dict)


_STATE = "state.json"
_OPTIMIZERS = "optimizers.pt"
_CRITIC = "critic.safetensors"


def save(directory: Path, state: RunState, policy: Policy, optimizers: Optimizers, keep: int) -> None:
    """Write the checkpoint of `state.step` and remove all but the last `keep`."""
    with atomic_directory(directory / _name(state.step)) as target:
        policy.save_adapter(target)
        if policy.critic_head is not None:
            policy.save_critic(target / _CRITIC)
        torch.save(
            {"policy": optimizers.policy.state_dict(), "critic": optimizers.critic and optimizers.critic.state_dict()},
            target / _OPTIMIZERS,
        )
        (target / _STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
    for old in _steps(directory)[:-keep]:
        shutil.rmtree(directory / _name(old), ignore_errors=True)


def resume(directory: Path, run_key: str, policy: Policy, optimizers: Optimizers) -> RunState | None:
    """Load the newest checkpoint that can be read; None where there is none at all.

    Raises:
        CheckpointError: where checkpoints of another run lie here, or none of those here can be read.
    """
    problems: list[str] = []
    for step in reversed(_steps(directory)):
        path = directory / _name(step)
        try:
            state = RunState(**json.loads((path / _STATE).read_text(encoding="utf-8")))
            if state.run_key != run_key:
                raise CheckpointError(
                    f"{path} belongs to a run with another model, configuration or data; remove {directory} to start anew"
                )
            policy.load_adapter(path)
            if policy.critic_head is not None:
                policy.load_critic(path / _CRITIC)
            loaded = torch.load(path / _OPTIMIZERS, map_location=policy.device, weights_only=True)
            optimizers.policy.load_state_dict(loaded["policy"])
            if optimizers.critic is not None:
                optimizers.critic.load_state_dict(loaded["critic"])
        # torch.load raises errors of many kinds on a damaged file; the checkpoint before it is as good.
        except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, ModelError) as error:
            if isinstance(error, CheckpointError):
                raise
            problems.append(f"{path.name}: {error}")
            continue
        return state
    if problems:
        raise CheckpointError(
            f"no checkpoint in {directory} can be read ({'; '.join(problems)}); remove it to start anew"
        )
    return None


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _steps(directory: Path) -> list[int]:
    names = directory.glob("step-*") if directory.is_dir() else ()
    return sorted(int(path.name.removeprefix("step-")) for path in names)
