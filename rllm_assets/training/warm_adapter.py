"""A warm start's adapter, kept with the hash of all it depends on, so that other runs may begin with it."""

import json
import shutil
from pathlib import Path

from rllm_assets.config import RLLMConfig
from rllm_assets.data.files import atomic_directory
from rllm_assets.data.hashing import content_hash
from rllm_assets.models.policy import Policy
from rllm_assets.training.records import TrainingData

# Where a training run keeps it, under its directory.
WARM_START = "warm_start"
_KEY = "warm_start.json"


def warm_start_key(config: RLLMConfig, data: TrainingData, model_hash: str) -> str:
    """Return the hash of everything that the warm start's adapter depends on; the fold is not part of it."""
    training, learnt = config.training, TrainingData(data.train, [], data.attempts, data.format_name)
    parts = [
        config.model.model_dump(mode="json"),
        training.seed,
        training.warm_start,
        training.warm_start_epochs,
        training.warm_start_learning_rate,
        training.warm_start_batch_size,
        training.max_grad_norm,
        config.rewards.allow_in_process,
    ]
    return content_hash([*parts, learnt.content_hash(), model_hash])


def save_warm_start(directory: Path, policy: Policy, key: str) -> None:
    """Write the policy's adapter with its key, atomically."""
    with atomic_directory(directory) as target:
        policy.save_adapter(target)
        (target / _KEY).write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")


def borrow_warm_start(shared: Path, directory: Path, key: str) -> None:
    """Put a warm start that another run has made under `shared`, if it is this one, where a run in `directory` looks for it."""
    made, here = shared / key[:16], directory / WARM_START
    if made.exists() and not here.exists():
        with atomic_directory(here) as target:
            shutil.copytree(made, target, dirs_exist_ok=True)


def lend_warm_start(adapter: Path, shared: Path, key: str) -> None:
    """Leave a run's warm start under `shared` for others."""
    if not (shared / key[:16]).exists():
        with atomic_directory(shared / key[:16]) as target:
            shutil.copytree(adapter, target, dirs_exist_ok=True)


def load_warm_start(directory: Path, policy: Policy, key: str) -> bool:
    """Load the adapter that lies in `directory`; False where there is none, or it is another warm start's.

    Raises:
        ModelError: where it is damaged.
    """
    try:
        found = json.loads((directory / _KEY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if found != {"key": key}:
        return False
    policy.load_adapter(directory)
    return True
