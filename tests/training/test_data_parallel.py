"""Workers that share a training run do what one worker does alone."""

from pathlib import Path
from typing import Any

import pytest

from rllm_assets.training.records import TrainingData, TrainingError, read_steps
from rllm_assets.training.trainer import Trainer
from tests.training.small_runs import RaggedVerifier, Threads, assert_same, attempts, small_config, small_data, untimed

WARM = {"warm_start": "own", "warm_start_batch_size": 5}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {"algorithm": "grpo"},
    "grpo in minibatches with a KL": {
        "algorithm": "grpo_plus",
        "minibatches": 2,
        "epochs_per_batch": 2,
        "kl_coefficient": 0.1,
    },
    # Rounding differs between one worker and two. After a warm start the KL is nowhere 0 for one of them only.
    "rloo with the KL in the reward": {"algorithm": "rloo", "kl_coefficient": 0.1, "kl_estimator": "k1", **WARM},
    "ppo": {"algorithm": "ppo", "minibatches": 2, "critic_warmup_steps": 1},
    "warm start": {"algorithm": "grpo", **WARM},
}


@pytest.mark.parametrize(("algorithm", "size"), [*((name, 2) for name in ALGORITHMS), ("grpo", 3), ("ppo", 3)])
def test_the_same_losses_and_adapter(tiny_model: Path, tmp_path: Path, algorithm: str, size: int) -> None:
    config = small_config(tiny_model, training=ALGORITHMS[algorithm])
    data = small_data()
    data = TrainingData(data.train, data.fold, attempts(data.train), data.format_name)
    alone = Trainer(config, data, tmp_path / "alone", RaggedVerifier()).run()

    threads = Threads(size)
    rows: list[dict[str, float]] = []
    # Loading a policy draws from the process's one random generator.
    trainers = [
        Trainer(
            config,
            data,
            tmp_path / "shared",
            RaggedVerifier(),
            (lambda row: rows.append(dict(row))) if rank == 0 else None,
            threads.member(rank),
        )
        for rank in range(size)
    ]
    results = threads.run(lambda rank: trainers[rank].run())

    assert alone.metrics[-1]["step"] == 3
    assert alone.metrics[-1]["grad_norm"] > 0
    # Groups are of different sizes, and not every answer counts.
    assert 0 < alone.metrics[-1]["no_verdict_rate"] < 0.5
    assert_same(alone, results[0])
    assert [untimed(row) for row in rows if "warm_start_loss" not in row] == [untimed(r) for r in results[0].metrics]
    assert [untimed(row) for row in list(read_steps(tmp_path / "shared" / "metrics.jsonl"))] == [
        untimed(row) for row in results[0].metrics
    ]


def test_workers_that_do_not_share_their_directory_are_told(tiny_model: Path, tmp_path: Path) -> None:
    config = small_config(tiny_model, training={"max_steps": 1})
    data = small_data()
    Trainer(config, data, tmp_path / "first", RaggedVerifier()).run()
    threads = Threads(2)
    trainers = [
        Trainer(config, data, tmp_path / name, RaggedVerifier(), collective=threads.member(rank))
        for rank, name in enumerate(("first", "second"))
    ]
    with pytest.raises(TrainingError, match=r"different checkpoints in .* \(steps \[1, -1\], -1 for none\)"):
        threads.run(lambda rank: trainers[rank].run())
