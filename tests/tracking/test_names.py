import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllm_assets.tracking.names import (
    MAX_PARAM_LENGTH,
    asset_tags,
    metric_name,
    metric_values,
    parameters,
    tag_values,
)


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("pass@1", "pass_at_1"),
        ("base/pass@8", "base/pass_at_8"),
        ("reward mean", "reward mean"),
        ("p<0.05", "p_0.05"),
        ("/loss//total/", "loss/total"),
        ("../loss", "loss"),
        ("α", "α"),
    ],
)
def test_names_become_what_mlflow_accepts(given_name, expected):
    assert metric_name(given_name) == expected


@settings(deadline=None)  # the first example imports mlflow
@given(st.text(max_size=300))
def test_mlflow_accepts_every_name_that_is_not_refused(name):
    from mlflow.utils.validation import _validate_metric, _validate_metric_name

    try:
        clean = metric_name(name)
    except ValueError:
        return
    _validate_metric_name(clean)
    _validate_metric(clean, 1.0, 0, 0)
    assert metric_name(clean) == clean


@pytest.mark.parametrize("name", ["", "/", "..", "   "])
def test_a_name_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match="is no name"):
        metric_name(name)


def test_values_become_floats():
    assert metric_values({"solved": True, "pass@1": 1}) == {"solved": 1.0, "pass_at_1": 1.0}


def test_a_value_that_is_no_number_is_named():
    with pytest.raises(ValueError, match="'loss' is None, which is not a number"):
        metric_values({"loss": None})  # pyright: ignore[reportArgumentType]


def test_two_names_that_become_one_are_named():
    with pytest.raises(ValueError, match="'pass@1' and 'pass_at_1' would both be called 'pass_at_1'"):
        metric_values({"pass@1": 1, "pass_at_1": 2})


def test_a_configuration_becomes_dotted_parameters():
    config = {"training": {"seed": 0, "terms": {}}, "model": {"lora": {"rank": 16}}}
    assert parameters(config) == {"training.seed": "0", "training.terms": "{}", "model.lora.rank": "16"}


def test_a_long_parameter_is_cut_with_a_mark():
    (value,) = parameters({"space": "x" * 10_000}).values()
    assert len(value) == MAX_PARAM_LENGTH
    assert value.endswith("x … cut")


def test_asset_tags_leave_out_what_is_not_known():
    assert asset_tags("lora_checkpoint", "pocket", dagster_run_id="d1") == {
        "dagster.asset_key": "lora_checkpoint",
        "dagster.partition": "pocket",
        "dagster.run_id": "d1",
    }


def test_the_tag_that_dagster_mlflow_looks_for_is_refused():
    with pytest.raises(ValueError, match="dagster_run_id belongs to dagster-mlflow"):
        tag_values({"dagster_run_id": "d1"})
