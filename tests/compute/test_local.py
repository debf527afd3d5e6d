"""Work in this process."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rllm_assets.compute import Size, open_compute
from rllm_assets.config import DistributedConfig
from tests.compute.work import fail, history, logged, refusing, square

SIZE = Size()


def test_calls_share_the_state_in_their_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with open_compute(DistributedConfig()) as compute, compute.crew(partial(logged, log), SIZE, at_most=7) as crew:
        assert compute.in_process
        assert crew.workers == 1
        outcomes = list(crew.run(history, [1, 2, 3]))
        assert [outcome.value() for outcome in outcomes] == [[1], [1, 2], [1, 2, 3]]
        assert [outcome.item for outcome in outcomes] == [1, 2, 3]
    assert log.read_text() == f"entered {os.getpid()}\nexited {os.getpid()}\n"


def test_the_next_item_may_depend_on_the_last_outcome(tmp_path: Path) -> None:
    seen = [2]

    def items() -> Iterator[int]:
        while seen[-1] < 200:
            yield seen[-1]

    with open_compute(DistributedConfig()) as compute, compute.crew(partial(logged, tmp_path / "log"), SIZE) as crew:
        seen.extend(outcome.value() for outcome in crew.run(square, items()))
    assert seen == [2, 4, 16, 256]


def test_an_error_is_its_items_outcome(tmp_path: Path) -> None:
    with open_compute(DistributedConfig()) as compute, compute.crew(partial(logged, tmp_path / "log"), SIZE) as crew:
        outcomes = list(crew.run(fail, [1, 2, 3]))
    assert [outcome.result for outcome in outcomes] == [1, None, 3]
    with pytest.raises(KeyError, match="two"):
        outcomes[1].value()


def test_a_state_that_cannot_be_made() -> None:
    with (
        open_compute(DistributedConfig()) as compute,
        pytest.raises(ValueError, match="no state today"),
        compute.crew(refusing, SIZE),
    ):
        pass
