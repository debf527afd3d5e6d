"""Trials that train nothing: their score is a formula of the learning rate, and what they did is written down."""

import json
import math
import os
import signal
from pathlib import Path

from rllm_assets.training.trials import Remeasured, Score, Task

BEST_RATE = 2e-4


def log_of(directory: Path) -> list[dict[str, object]]:
    """What was run under a tuning directory."""
    path = directory / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def note(task: Task, what: str) -> None:
    log = task.directory.parent.parent / "log.jsonl"
    training = task.config.training
    line = {"what": what, "number": task.number, "rate": training.learning_rate, "steps": training.max_steps}
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")


def quality(task: Task) -> float:
    """1 at the best learning rate, less by orders of magnitude away from it."""
    return max(0.0, 1 - abs(math.log10(task.config.training.learning_rate / BEST_RATE)))


def run_trial(task: Task) -> Score:
    note(task, "trial")
    return Score(quality(task), 1.5)


def remeasure(task: Task, samples: int, seed: int) -> Remeasured:
    note(task, f"{samples} samples of seed {seed}")
    fold = task.data.fold
    return Remeasured({i.instance_id: quality(task) for i in fold}, {i.instance_id: i.group for i in fold})


def remeasure_as_noise(task: Task, samples: int, seed: int) -> Remeasured:
    """Better on one group, worse on the others."""
    fold = task.data.fold
    sign = 1 if task.config.training.learning_rate == 1e-4 else -1
    groups = sorted({i.group for i in fold})
    return Remeasured(
        {i.instance_id: 0.5 + sign * 0.1 * (1 if i.group == groups[0] else -0.4) for i in fold},
        {i.instance_id: i.group for i in fold},
    )


def fail_away_from_default(task: Task) -> Score:
    if task.config.training.learning_rate != 1e-4:
        raise ValueError("the loss was no number")
    return run_trial(task)


def fail_at_default(task: Task) -> Score:
    if task.config.training.learning_rate == 1e-4:
        raise ValueError("the loss was no number")
    return run_trial(task)


def fail(task: Task) -> Score:
    raise ValueError(f"no luck in trial {task.number}")


def interrupt_third(task: Task) -> Score:
    """Interrupted as by the user, in the third trial, once."""
    score = run_trial(task)
    mark = task.directory.parent.parent / "interrupted"
    if task.number == 2 and not mark.exists():
        mark.touch()
        raise KeyboardInterrupt
    return score


def die_first(task: Task) -> Score:
    """Takes its worker down, once."""
    note(task, "trial")
    mark = task.directory.parent.parent / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Score(quality(task), 1.5)
