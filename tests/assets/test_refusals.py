"""What an asset refuses: one clear message, and no second try."""

import importlib

import dagster as dg
import pytest

from rllm_assets.assets.display import LIBRARY_ERRORS, refusing
from tests.assets.failures import failure_of


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"training.lerning_rate": 1},
            "run config: unknown key training.lerning_rate; did you mean training.learning_rate?",
        ),
        ({"training.gae_lambda": 0.5}, "training.gae_lambda has no effect without a critic"),
        ({"splits.val_fraction": 0.999}, "groups would be held out"),
    ],
)
def test_bad_run_config_fails_with_one_clear_message(make_graph, overrides, message):
    graph = make_graph(trajectories={"rollouts_per_issue": 1})
    if "splits.val_fraction" in overrides:
        assert graph.materialize("historical_issues", "trajectories").success
        result = graph.materialize("train_split", "val_split", "test_split", overrides=overrides, raise_on_error=False)
    else:
        assert graph.materialize("historical_issues").success
        result = graph.materialize("trajectories", overrides=overrides, raise_on_error=False)
    assert not result.success
    assert message in failure_of(result)[0]


def test_an_asset_without_its_input_says_what_to_materialize(make_graph):
    result = make_graph().materialize("trajectories", raise_on_error=False)
    assert "historical_issues of 'tiny' is not materialized" in failure_of(result)[0]


def test_a_model_that_does_not_load_is_named(make_graph, tmp_path):
    graph = make_graph()
    assert graph.materialize("historical_issues").success
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"no")
    result = graph.materialize("trajectories", overrides={"model.name": str(broken)}, raise_on_error=False)
    message, event = failure_of(result)
    assert message.strip().startswith(
        f"dagster._core.definitions.events.Failure: tiny: the tokenizer of {broken} does not load: "
    )
    assert "\n" not in message.strip()
    assert event.step_failure_data.user_failure_data is not None
    assert event.step_failure_data.error.cause is None
    assert not any(e.is_step_up_for_retry for e in result.all_events)


def test_every_error_of_the_library_that_is_refused_exists():
    for module, names in LIBRARY_ERRORS.items():
        for name in names:
            error = getattr(importlib.import_module(module), name)
            with pytest.raises(dg.Failure, match=r"^tiny: two lines$") as caught, refusing("tiny"):
                raise error("two\n  lines")
            assert caught.value.allow_retries is False


def test_other_errors_are_not_refused():
    with pytest.raises(ZeroDivisionError), refusing("tiny"):
        raise ZeroDivisionError
