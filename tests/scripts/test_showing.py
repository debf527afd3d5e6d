"""What a terminal shows of a training."""

import io

import pytest
from rich.console import Console

from rllm_assets.scripts.showing import training_bar


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ([], "0/?"),
        ([{"step": 0, "base_sampled": 3, "base_sampled_total": 8}], "3/8 0:00:00 sampling the base"),
        ([{"step": 0, "warm_start_step": 1, "warm_start_steps": 4}], "1/4 0:00:00 warm start"),
        ([{"step": 0, "planned_steps": 6}, {"step": 2, "reward": 0.5}], "2/6 0:00:00 reward 0.5"),
        # Only minutes end it.
        ([{"step": 2, "reward": 0.5}], "2/? 0:00:00 reward 0.5"),
        ([{"step": 6}, {"compared": 5, "compared_total": 9}], "5/9 0:00:00 comparing with the base"),
    ],
)
def test_the_bar_follows_a_training(metrics, shown):
    screen = io.StringIO()
    with training_bar(Console(file=screen, width=120)) as show:
        for row in metrics:
            show(row)
    assert shown in screen.getvalue()
