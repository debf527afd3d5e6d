"""Kills a training at random moments, again and again.

    python -m tests.training.killed MODEL DIRECTORY ALGORITHM KILLS

Each time a process goes on where the one before was killed. Every other one is killed from outside after a random time, every
other one by itself when it is about to write, rename or remove something for the nth time. A run that ends before it was killed
often enough is left in its directory, and another one begun beside it.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from rllm_assets.config import RLLMConfig
from rllm_assets.training.records import TrainingData
from rllm_assets.training.trainer import Trainer
from tests.training.small_runs import RaggedVerifier, attempts, small_config, small_data

_WRITES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")


def config(model: Path, algorithm: str) -> RLLMConfig:
    """A run with everything that a checkpoint must hold."""
    training: dict[str, Any] = {
        "algorithm": algorithm,
        "max_steps": 6,
        "minibatches": 2,
        "curriculum": "solve_rate",
        "warm_start": "own",
        "schedule": "cosine",
    }
    return small_config(model, training=training)


def train(model: Path, directory: Path, algorithm: str, last_write: int | None) -> None:
    """Train to the end, or until `last_write` writes below `directory` are begun."""
    torch.set_num_threads(1)
    writes = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal writes
        if event in _WRITES and str(arguments[0]).startswith(str(directory)):
            writes += 1
            if writes == last_write:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    data = small_data()
    data = TrainingData(data.train, data.fold, attempts(data.train), data.format_name)
    Trainer(config(model, algorithm), data, directory, RaggedVerifier()).run()


def forked(model: Path, directory: Path, algorithm: str, last_write: int | None, seconds: float | None) -> bool:
    """Train in a process of its own; return whether it came to its end."""
    # What the process before left pending.
    signal.sigtimedwait({signal.SIGCHLD}, 0)
    child = os.fork()
    if child == 0:
        train(model, directory, algorithm, last_write)
        os._exit(0)
    if seconds is not None and signal.sigtimedwait({signal.SIGCHLD}, seconds) is None:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code == 0


def main() -> None:
    """Kill so many times."""
    model, directory, algorithm, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    random_moment = random.Random(f"{algorithm} {kills}")
    # The fastest so far; the first is slow, as everything is read for the first time.
    longest = float("inf")
    done, runs = 0, 0
    while done < kills:
        by_clock = runs > 0 and done % 2 == 0
        last_write = random_moment.randint(1, 60) if runs > 0 and not by_clock else None
        seconds = random_moment.uniform(0, longest) if by_clock else None
        began = time.monotonic()
        ended = forked(model, directory / f"run-{runs:02d}", algorithm, last_write, seconds)
        if ended:
            longest, runs = min(longest, time.monotonic() - began), runs + 1
        else:
            done += 1


if __name__ == "__main__":
    main()
