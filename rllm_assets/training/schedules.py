"""What changes with the step: the learning rate and the length of responses."""

import math
from collections.abc import Callable, Mapping

from rllm_assets.config import RLLMConfig, TrainingConfig

# Of the share of the way from the end of warm-up to the last step, 0 to 1.
_SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
}


# Steps of a run that max_minutes ends.
ENDLESS = 10**9


def planned_steps(training: TrainingConfig, issues: int) -> int:
    """Return after how many steps a training on so many issues ends; `ENDLESS` where only `max_minutes` ends it."""
    by_epochs = math.ceil(training.epochs * issues / training.batch_size) if training.epochs else None
    return min((limit for limit in (training.max_steps, by_epochs) if limit is not None), default=ENDLESS)


def learning_rate(training: TrainingConfig, step: int, total_steps: int) -> float:
    """Return the share of the peak learning rate at a step that counts from 1."""
    if step <= training.warmup_steps:
        return step / (training.warmup_steps + 1)
    done = (step - 1 - training.warmup_steps) / max(1, total_steps - training.warmup_steps)
    return _SCHEDULES[training.schedule](done)


def response_limit(config: RLLMConfig, step: int) -> int:
    """Return how many tokens a response may have at a step: DeepCoder's context lengthening, by stages."""
    stages = sorted(config.training.lengthening.items())
    return next((limit for last, limit in stages if step <= last), config.model.max_response_tokens)
