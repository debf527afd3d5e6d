"""Learning rates and response limits by step, against hand-computed numbers."""

import pytest

from rllm_assets.config import Layer, RLLMConfig, TrainingConfig, get_deepcoder_config, resolve
from rllm_assets.config.resolve import ConfigError
from rllm_assets.training.schedules import ENDLESS, learning_rate, planned_steps, response_limit


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1]),
        ("linear", [1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25]),
        ("cosine", [1 / 3, 2 / 3, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_the_learning_rate_warms_up_and_ends(schedule, shares):
    training = TrainingConfig(max_steps=6, warmup_steps=2, schedule=schedule)
    assert [learning_rate(training, step, 6) for step in range(1, 7)] == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"max_steps": 5}, 5),
        ({"epochs": 3}, 6),
        ({"epochs": 0.1}, 1),
        ({"epochs": 3, "max_steps": 4}, 4),
        ({"max_minutes": 1}, ENDLESS),
    ],
)
def test_a_training_ends_with_its_first_limit(limits, steps):
    assert planned_steps(TrainingConfig(batch_size=4, **limits), issues=7) == steps


def test_the_context_lengthens_by_stages():
    config = RLLMConfig.model_validate(
        {
            "model": {"max_response_tokens": 64},
            "training": {"max_steps": 9, "lengthening": {"4": 32, "2": 16}},
        }
    )
    assert [response_limit(config, step) for step in range(1, 7)] == [16, 16, 32, 32, 64, 64]


def test_deepcoder_lengthens_from_16k_to_32k_after_step_180():
    config = get_deepcoder_config()
    assert [response_limit(config, step) for step in (1, 180, 181)] == [16_384, 16_384, 32_768]


@pytest.mark.parametrize("stages", [{4: 64}, {4: 128}, {2: 32, 4: 16}])
def test_a_context_that_does_not_lengthen_is_an_error(stages):
    with pytest.raises(ConfigError, match=r"training\.lengthening must grow towards model\.max_response_tokens"):
        resolve(
            Layer("here", {"training.max_steps": 9, "training.lengthening": stages, "model.max_response_tokens": 64})
        )
