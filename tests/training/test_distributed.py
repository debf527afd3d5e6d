"""Training on Ray: the result of one worker, whatever happens to the workers."""

import os
import signal
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from rllm_assets.compute import ResourcesError
from rllm_assets.config import RLLMConfig
from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.verdicts import Verdict
from rllm_assets.sandbox.jobs import SandboxUnavailableError
from rllm_assets.training.distributed import train_distributed
from rllm_assets.training.records import TrainingResult
from rllm_assets.training.trainer import Trainer
from tests.compute.local_ray import ray_here  # noqa: F401
from tests.training.small_runs import RaggedVerifier, assert_same, small_config, small_data, untimed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("ray_here")]


def on_ray(config: RLLMConfig, workers: int = 2) -> RLLMConfig:
    return config.model_copy(
        update={"distributed": config.distributed.model_copy(update={"compute": "ray", "num_workers": workers})}
    )


class DeadlyVerifier(RaggedVerifier):
    """Kills the first worker that comes to judge for the fourth time."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark
        self._calls = 0

    def verify_many(self, jobs: Sequence[tuple[FunctionTask, str | None]]) -> list[Verdict]:
        self._calls += 1
        if self._calls == 4 and _first(self._mark):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().verify_many(jobs)


class WeakMachine(RaggedVerifier):
    """Has no sandbox in one of the workers; the others wait for that one."""

    def __init__(self, mark: Path) -> None:
        if _first(mark):
            raise SandboxUnavailableError("no bubblewrap on node 7")


def _first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def test_two_workers_train_to_the_result_of_one(tiny_model: Path, tmp_path: Path) -> None:
    """Even when the caller fails in between, which stops the workers, and calls again."""
    config = small_config(tiny_model, training={"max_steps": 4})
    alone = Trainer(config, small_data(), tmp_path / "alone", RaggedVerifier()).run()
    rows: list[dict[str, float]] = []
    threads: set[threading.Thread] = set()
    disk_is_full = [True]

    def on_metrics(row: dict[str, float]) -> None:
        rows.append(dict(row))
        threads.add(threading.current_thread())
        if row["step"] == 2 and disk_is_full.pop():
            raise OSError("disk full")

    def train() -> TrainingResult:
        return train_distributed(
            on_ray(config), small_data(), tmp_path / "shared", on_metrics, make_verifier=RaggedVerifier
        )

    with pytest.raises(OSError, match="disk full"):
        train()
    assert not any(thread.name == "ray-train" for thread in threading.enumerate())
    begun = len(rows)
    disk_is_full.append(False)
    shared = train()
    assert_same(alone, shared)
    assert [row["step"] for row in rows[:begun]] == [0, 1, 2]
    again = {row["step"]: untimed(row) for row in rows[begun:]}
    assert again == {row["step"]: untimed(row) for row in shared.metrics if row["step"] in again}
    assert max(again) == 4
    assert threads == {threading.current_thread()}
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["best", "checkpoints", "metrics.jsonl"]


def test_a_lost_worker_costs_no_more_than_the_steps_since_the_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    config = small_config(tiny_model, training={"algorithm": "ppo", "max_steps": 4, "checkpoint_every": 2})
    alone = Trainer(config, small_data(), tmp_path / "alone", RaggedVerifier()).run()
    rows: list[dict[str, float]] = []
    make_verifier = partial(DeadlyVerifier, tmp_path / "died")
    shared = train_distributed(
        on_ray(config),
        small_data(),
        tmp_path / "shared",
        lambda row: rows.append(dict(row)),
        make_verifier=make_verifier,
    )
    assert (tmp_path / "died").exists()
    # The calls are: the fold at the start, steps 1 and 2, and the fold after step 2, whose checkpoint is not there yet.
    assert [row["step"] for row in rows] == [0, 1, 1, 2, 3, 4]
    assert_same(alone, shared)


def test_the_error_of_one_worker_is_the_callers(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailableError, match=r"^no bubblewrap on node 7\nin a training worker:\n"):
        train_distributed(
            on_ray(small_config(tiny_model)),
            small_data(),
            tmp_path / "run",
            make_verifier=partial(WeakMachine, tmp_path / "mark"),
        )


def test_more_workers_than_the_cluster_has_room_for(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Found running, the session's Ray could be one that grows.
    monkeypatch.setattr("rllm_assets.compute.cluster.GROW_SECONDS", 0.0)
    with pytest.raises(ResourcesError, match=r"not enough resources for 3 workers of 1 CPU: .* has room for 2"):
        train_distributed(on_ray(small_config(tiny_model), workers=3), small_data(), tmp_path / "run")
