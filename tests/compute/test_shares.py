"""Shares of one work: the same results here and on Ray."""

import threading
from pathlib import Path

import pytest

from rllm_assets.compute import ResourcesError, WorkerLostError, run_shares, sandboxes
from rllm_assets.config import DistributedConfig
from tests.compute.local_ray import CPUS, ray_here  # noqa: F401
from tests.compute.work import tell_and_die, tell_and_die_once, tell_and_fail, tell_and_triple

RAY = DistributedConfig(compute="ray", num_workers=8, cpus_per_worker=1)


class Ear:
    """Hears messages, and lets a share go on that has sent two."""

    def __init__(self, directory: Path) -> None:
        self.heard: list[tuple[int, int]] = []
        self.threads: set[threading.Thread] = set()
        self._directory = directory

    def __call__(self, message: tuple[int, int]) -> None:
        self.heard.append(message)
        self.threads.add(threading.current_thread())
        if message[1] == 1:
            (self._directory / str(message[0])).touch()


def check_shares(distributed: DistributedConfig, directory: Path, shares: int) -> set[int]:
    """Do that many, and return the processes that did."""
    ear = Ear(directory)
    found = run_shares(distributed, tell_and_triple, [(directory, number) for number in range(shares)], ear)
    assert [result for result, _ in found] == [3 * number for number in range(shares)]
    assert sorted(ear.heard) == [(number, turn) for number in range(shares) for turn in range(2)]
    assert [message for message in ear.heard if message[0] == 0] == [(0, 0), (0, 1)]
    assert ear.threads == {threading.current_thread()}
    return {process for _, process in found}


def test_in_processes_of_this_machine(tmp_path: Path) -> None:
    assert len(check_shares(DistributedConfig(num_workers=2), tmp_path, 2)) == 2


def test_a_share_has_the_cores_to_itself_that_the_others_leave() -> None:
    here = DistributedConfig(num_workers=2)
    assert (sandboxes(here, 1), sandboxes(here, 2)) == (None, 1)
    assert sandboxes(DistributedConfig(compute="ray", cpus_per_worker=8), 1) == 8


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("ray_here")
class TestOnRay:
    def test_more_shares_than_there_is_room_for(self, tmp_path: Path) -> None:
        # A worker that is slow to start may find all of them taken.
        assert 1 <= len(check_shares(RAY, tmp_path, 5)) <= CPUS

    def test_a_worker_has_the_configured_size(self, tmp_path: Path) -> None:
        assert len(check_shares(RAY.model_copy(update={"cpus_per_worker": CPUS}), tmp_path, 2)) == 1

    def test_no_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rllm_assets.compute.cluster.GROW_SECONDS", 0.0)
        with pytest.raises(ResourcesError, match="not enough resources for a worker of 1 CPU and 1 GPU"):
            run_shares(RAY.model_copy(update={"gpus_per_worker": 1.0}), tell_and_fail, [1])

    def test_a_lost_share_is_begun_again_and_heard_once(self, tmp_path: Path) -> None:
        heard: list[str] = []
        assert run_shares(RAY, tell_and_die_once, [tmp_path / "mark"], heard.append) == ["done"]
        assert heard == ["one", "two", "three"]

    def test_a_share_that_kills_each_worker_is_given_up(self) -> None:
        with pytest.raises(WorkerLostError, match="the worker died: "):
            run_shares(RAY, tell_and_die, [1])

    def test_the_error_of_a_share_is_the_callers(self) -> None:
        with pytest.raises(KeyError, match="share 1") as caught:
            run_shares(RAY, tell_and_fail, [1])
        assert "in a worker on Ray, share 0:\n" in caught.value.__notes__[0]
        assert "tell_and_fail" in caught.value.__notes__[0]
