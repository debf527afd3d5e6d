"""What goes into a training run and what comes out."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rllm_assets.config import RLLMConfig
from rllm_assets.data.answers import AnswerFormat, answer_format
from rllm_assets.data.files import atomic_file, is_full
from rllm_assets.data.hashing import content_hash
from rllm_assets.data.issues import Issue
from rllm_assets.data.trajectories import Attempt

Metrics = Mapping[str, float]


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class TrainingData:
    """Issues to learn from, a fold of the same split to stop by, and what was tried on them before."""

    train: Sequence[Issue]
    fold: Sequence[Issue]
    attempts: Sequence[Attempt] = ()
    format_name: str = "function"

    @property
    def answer_format(self) -> AnswerFormat:
        """How issues are asked and answers read."""
        return answer_format(self.format_name)

    def content_hash(self) -> str:
        """Hash of all of it."""
        return content_hash(
            [
                sorted(i.content_hash for i in self.train),
                sorted(i.content_hash for i in self.fold),
                sorted(a.trajectory_id for a in self.attempts),
                self.format_name,
            ]
        )


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: where the adapters lie and how it went.

    `warm_start_adapter` is the adapter before reinforcement, where there was a warm start, so that both can be compared.
    `rollouts` holds every answer that was trained on, a JSON line each, with its verdict and the value of each reward term.
    """

    adapter: Path
    warm_start_adapter: Path | None
    best_step: int
    metrics: list[dict[str, float]]
    rollouts: Path
    warnings: list[str]


class StepLog:
    """JSON lines, each of one step."""

    def __init__(self, path: Path) -> None:
        """Bind the file."""
        self.path = path

    def cut(self, last_step: int) -> None:
        """Keep the rows up to the step of the checkpoint that a run goes on from."""
        with atomic_file(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for row in read_steps(self.path):
                if row["step"] <= last_step:
                    file.write(json.dumps(row) + "\n")

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows of the step that was just made."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(dict(row)) + "\n" for row in rows)


@contextmanager
def telling_full_disk(directory: Path) -> Iterator[None]:
    """Turn the errors that libraries raise on a full disk into one that says what to do.

    Raises:
        TrainingError: where the disk of `directory` is full.
    """
    try:
        yield
    # Each library that writes has its own.
    except Exception as error:
        if not is_full(error):
            raise
        raise TrainingError(
            f"the disk of {directory} is full ({error}); nothing that was written before is lost: make room and start again, "
            "and training goes on from the last checkpoint"
        ) from error


def read_steps(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a log, none where there is no log; a line that a killed run left half written is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


_UNIMPORTANT = (
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.micro_batch_tokens",
    "training.max_minutes",
)


def run_identity(config: RLLMConfig, data: TrainingData, model_hash: str) -> dict[str, Any]:
    """Return everything that a run's result depends on, by dotted key; limits on its length are not part of it."""
    parts = ["model", "training", "rewards", *(["agent"] if data.answer_format.act is not None else [])]
    keys = {
        f"{part}.{name}": value
        for part in parts
        for name, value in getattr(config, part).model_dump(mode="json").items()
        if f"{part}.{name}" not in _UNIMPORTANT
    }
    return json.loads(json.dumps({**keys, "the data": data.content_hash(), "the base model": model_hash}))


def run_key(config: RLLMConfig, data: TrainingData, model_hash: str) -> str:
    """Return the hash of everything that a run's result depends on."""
    return content_hash(run_identity(config, data, model_hash))
