"""The best adapter of a run, by its pass rate on the fold.

Its directory is named by its step: a run that is killed before the next checkpoint, or finds that one damaged, goes back to one
that knows another best. So the best of every checkpoint that is kept is kept.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

from rllm_assets.data.files import atomic_directory
from rllm_assets.models.policy import Policy
from rllm_assets.training.checkpoints import RunState


def note_score(state: RunState, score: float) -> bool:
    """Take note of a pass rate on the fold; return whether its step is the best from now on."""
    state.evaluations_since_best = 0 if score > state.best_score else state.evaluations_since_best + 1
    # Of equals the latest, which has learned more; but only a better one gives patience anew.
    if score < state.best_score:
        return False
    state.best_score, state.best_step = score, state.step
    return True


def best_path(directory: Path, step: int) -> Path:
    """Return where the best adapter lies, when it is the one of `step`."""
    return directory / f"best-{step:06d}"


def save_best(directory: Path, step: int, policy: Policy) -> None:
    """Write the policy's adapter as the best."""
    with atomic_directory(best_path(directory, step)) as target:
        policy.save_adapter(target)


def drop_others(directory: Path, steps: Collection[int]) -> None:
    """Remove every best but those of `steps`."""
    kept = {best_path(directory, step) for step in steps}
    for path in directory.glob("best-*"):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
