"""Training on Ray: the result of one worker, whatever happens to the workers."""

import os
import signal
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch.distributed as dist

from rllm_assets.compute import ResourcesError
from rllm_assets.config import RLLMConfig
from rllm_assets.data.issues import Issue
from rllm_assets.data.trajectories import Attempt
from rllm_assets.data.verdicts import Verdict
from rllm_assets.rewards.terms import Judged
from rllm_assets.rollouts.first_attempts import sample_base
from rllm_assets.sandbox.jobs import SandboxUnavailableError
from rllm_assets.training.distributed import train_distributed
from rllm_assets.training.records import TrainingError, TrainingResult
from rllm_assets.training.run import train
from rllm_assets.training.trainer import Trainer
from tests.compute.local_ray import ray_here  # noqa: F401
from tests.training.small_runs import RaggedVerifier, assert_same, small_config, small_data, untimed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
on_the_sessions_ray = pytest.mark.usefixtures("ray_here")


def on_ray(config: RLLMConfig, workers: int = 2) -> RLLMConfig:
    return config.model_copy(
        update={"distributed": config.distributed.model_copy(update={"compute": "ray", "num_workers": workers})}
    )


class DeadlyVerifier(RaggedVerifier):
    """Kills the first worker that comes to judge for the fourth time."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark
        self._calls = 0

    def verify_many(self, jobs: Sequence[tuple[Issue, str | None]]) -> list[Verdict]:
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


@on_the_sessions_ray
@pytest.mark.long
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

    def share() -> TrainingResult:
        return train_distributed(
            on_ray(config), small_data(), tmp_path / "shared", on_metrics, make_verifier=RaggedVerifier
        )

    with pytest.raises(OSError, match="disk full"):
        share()
    assert not any(thread.name == "ray-train" for thread in threading.enumerate())
    begun = len(rows)
    disk_is_full.append(False)
    shared = share()
    assert_same(alone, shared)
    assert [row["step"] for row in rows[:begun]] == [0, 1, 2]
    again = {row["step"]: untimed(row) for row in rows[begun:]}
    assert again == {row["step"]: untimed(row) for row in shared.metrics if row["step"] in again}
    assert max(again) == 4
    assert threads == {threading.current_thread()}
    left = {path.name for path in (tmp_path / "shared").iterdir()}
    # Each checkpoint that is kept has the best adapter of its time.
    best = {name for name in left if name.startswith("best-")}
    assert left - best == {"checkpoints", "metrics.jsonl", "rollouts.jsonl"}
    assert f"best-{shared.best_step:06d}" in best


@on_the_sessions_ray
@pytest.mark.long
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
    # Adam divides by a gradient's own size, so that rounding between one worker and two grows from step to step; the tokens
    # that were sampled are compared exactly.
    assert_same(alone, shared, tolerance=1e-4)


@on_the_sessions_ray
@pytest.mark.long
def test_the_error_of_one_worker_is_the_callers(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailableError, match=r"^no bubblewrap on node 7\nin a training worker:\n"):
        train_distributed(
            on_ray(small_config(tiny_model)),
            small_data(),
            tmp_path / "run",
            make_verifier=partial(WeakMachine, tmp_path / "mark"),
        )


@on_the_sessions_ray
def test_more_workers_than_the_cluster_has_room_for(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Found running, the session's Ray could be one that grows.
    monkeypatch.setattr("rllm_assets.compute.cluster.GROW_SECONDS", 0.0)
    with pytest.raises(ResourcesError, match=r"not enough resources for 3 workers of 1 CPU: .* has room for 2"):
        train_distributed(on_ray(small_config(tiny_model), workers=3), small_data(), tmp_path / "run")


@on_the_sessions_ray
@pytest.mark.long
def test_one_worker_trains_where_the_configuration_says(tiny_model: Path, tmp_path: Path) -> None:
    config = small_config(tiny_model, training={"max_steps": 1}, rewards={"terms": {f"{__name__}:place": 1.0}})
    rows: list[dict[str, float]] = []
    for name, asked in (("here", config), ("there", on_ray(config, workers=1))):
        train(asked, small_data(), tmp_path / name, lambda row: rows.append(dict(row)), allow_unsandboxed=True)
    here, there = (row["reward"] for row in rows if row["step"] == 1)
    assert (here, there) == (os.getpid(), there)
    assert there != here


def place(judged: Judged) -> float:
    """In which process an answer is judged, on a scale of its own."""
    return float(os.getpid())


def test_workers_are_told_whether_they_may_judge_without_a_sandbox(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(
        "rllm_assets.training.distributed.train_distributed",
        lambda *_, allow_unsandboxed, **__: told.append(allow_unsandboxed),
    )
    for allowed in (True, False):
        train(on_ray(small_config(tiny_model)), small_data(), tmp_path, allow_unsandboxed=allowed)
    assert told == [True, False]


@on_the_sessions_ray
@pytest.mark.long
def test_the_base_is_sampled_on_ray_as_it_is_here(tiny_model: Path) -> None:
    config = small_config(tiny_model, trajectories={"rollouts_per_issue": 2})
    issues = small_data().train

    def sample(asked: RLLMConfig) -> tuple[list[Attempt], str, list[tuple[int, int]]]:
        progress: list[tuple[int, int]] = []
        attempts, base = sample_base(
            asked, issues, "function", lambda *counts: progress.append(counts), allow_unsandboxed=True
        )
        return [_without_clock(attempt) for attempt in attempts], base, progress

    here, there = sample(config), sample(on_ray(config, workers=3))
    assert there[:2] == here[:2]
    assert len(here[0]) == 3 * len(issues)
    assert there[2][-1] == here[2][-1] == (len(issues), len(issues))
    assert len(there[2]) == 3


def _without_clock(attempt: Attempt) -> Attempt:
    return attempt.model_copy(update={"verdict": attempt.verdict.model_copy(update={"seconds": 0.0})})


@pytest.mark.long
def test_the_error_of_one_process_is_the_callers(tiny_model: Path, tmp_path: Path) -> None:
    """Though the other one, which waits for it, notices first."""
    config = small_config(tiny_model, rewards={"terms": {f"{__name__}:refuse": 1.0}})
    distributed = config.distributed.model_copy(update={"num_workers": 2})
    with pytest.raises(TrainingError, match=r"^process 1 judges no more\nin worker process 1:"):
        train(config.model_copy(update={"distributed": distributed}), small_data(), tmp_path, allow_unsandboxed=True)


def refuse(judged: Judged) -> float:
    """Fail in the second process."""
    if dist.get_rank() == 1:
        raise TrainingError("process 1 judges no more")
    return 0.0
