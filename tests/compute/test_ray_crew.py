"""Work on Ray."""

import os
from functools import partial
from pathlib import Path

import pytest

from rllm_assets.compute import ComputeError, ResourcesError, Size, WorkerLostError
from rllm_assets.compute.ray_crew import STILLBORN, RayCompute
from tests.compute.local_ray import CPUS, ray_compute, ray_here  # noqa: F401
from tests.compute.work import die, die_once, dying, fail, history, logged, meet, place, refusing, square

# The fixtures are arguments of the same name as their imports.
# ruff: noqa: F811

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


def pids(log: Path, what: str) -> list[str]:
    return [line.split()[1] for line in log.read_text().splitlines() if line.split()[0] == what]


def test_workers_work_side_by_side(ray_compute: RayCompute, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ray_compute.crew(partial(logged, log), Size()) as crew:
        assert crew.workers == CPUS
        workers = {str(outcome.value()) for outcome in crew.run(meet, [CPUS] * CPUS)}
        assert len(workers) == CPUS
        assert str(os.getpid()) not in workers
        outcomes = list(crew.run(square, range(20)))
        assert sorted((outcome.item, outcome.value()) for outcome in outcomes) == [(n, n * n) for n in range(20)]
        # Nothing is left when there is nothing to do.
        assert list(crew.run(square, [])) == []
    assert set(pids(log, "entered")) == set(pids(log, "exited")) == workers


def test_a_worker_keeps_its_state(ray_compute: RayCompute, tmp_path: Path) -> None:
    with ray_compute.crew(partial(logged, tmp_path / "log"), Size(), at_most=1) as crew:
        assert crew.workers == 1
        seen = [outcome.value() for outcome in crew.run(history, "abc")]
        assert seen == [["a"], ["a", "b"], ["a", "b", "c"]]
        directory, gpus = next(iter(crew.run(place, [None]))).value()
        assert directory == Path.cwd()
        assert gpus in ("unset", "")


def test_the_next_item_may_depend_on_the_last_outcome(ray_compute: RayCompute, tmp_path: Path) -> None:
    seen = [2]
    with ray_compute.crew(partial(logged, tmp_path / "log"), Size(), at_most=1) as crew:
        seen.extend(outcome.value() for outcome in crew.run(square, (seen[-1] for _ in range(3))))
    assert seen == [2, 4, 16, 256]


def test_an_error_is_its_items_outcome(ray_compute: RayCompute, tmp_path: Path) -> None:
    with ray_compute.crew(partial(logged, tmp_path / "log"), Size()) as crew:
        outcomes = {outcome.item: outcome for outcome in crew.run(fail, [1, 2, 3])}
    assert outcomes[1].value() == 1
    assert outcomes[3].value() == 3
    assert type(outcomes[2].error) is KeyError
    assert str(outcomes[2].error) == "'two'"


def test_a_dead_worker_is_replaced_and_its_item_given_to_another(ray_compute: RayCompute, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ray_compute.crew(partial(logged, log), Size(), at_most=1) as crew:
        outcomes = list(crew.run(die_once, range(8), retries=1))
        assert [outcome.value() for outcome in outcomes] == list(range(8))
        assert len(set(pids(log, "entered"))) == 2


def test_an_item_that_kills_each_worker_is_given_up(ray_compute: RayCompute, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ray_compute.crew(partial(logged, log), Size(), at_most=1) as crew:
        outcomes = {outcome.item: outcome for outcome in crew.run(die, range(8), retries=1)}
        assert sorted(item for item, outcome in outcomes.items() if outcome.error is None) == [0, 1, 2, 4, 5, 6, 7]
        assert isinstance(outcomes[3].error, WorkerLostError)
        assert str(outcomes[3].error).startswith("the worker died: ")
    # Two tries, a fresh worker after each.
    assert len(set(pids(log, "entered"))) == 3


def test_a_run_that_is_left_early_does_not_disturb_the_next(ray_compute: RayCompute, tmp_path: Path) -> None:
    with ray_compute.crew(partial(logged, tmp_path / "log"), Size()) as crew:
        for outcome in crew.run(die, [0, 3, 1, 2]):
            assert outcome.item == 0 or outcome.error is not None
            break
        assert sorted(outcome.value() for outcome in crew.run(square, range(6))) == [0, 1, 4, 9, 16, 25]


def test_a_state_that_cannot_be_made(ray_compute: RayCompute) -> None:
    with ray_compute.crew(refusing, Size(), at_most=1) as crew, pytest.raises(ValueError, match=r"^no state today$"):
        list(crew.run(square, [1]))


def test_workers_that_die_at_birth(ray_compute: RayCompute) -> None:
    with (
        ray_compute.crew(dying, Size(), at_most=1) as crew,
        pytest.raises(ComputeError, match=f"{STILLBORN} workers in a row died while they started"),
    ):
        list(crew.run(square, [1]))


def test_no_room(ray_compute: RayCompute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (
        pytest.raises(ResourcesError, match="not enough resources for a worker of 64 CPUs"),
        ray_compute.crew(partial(logged, tmp_path / "log"), Size(64)),
    ):
        pass
    with ray_compute.crew(partial(logged, tmp_path / "log"), Size(CPUS)) as crew:
        list(crew.run(square, [1]))
        monkeypatch.setattr("rllm_assets.compute.ray_crew.START_SECONDS", 1.0)
        with (
            ray_compute.crew(partial(logged, tmp_path / "log"), Size(1)) as second,
            pytest.raises(ResourcesError, match=r"no worker of 1 CPU came up .* within 1 s: free are 0 CPUs"),
        ):
            list(second.run(square, [1]))
