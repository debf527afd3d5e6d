"""Layers of configuration: precedence, origins, and one clear error for each mistake."""

import pytest
import yaml

from rllm_assets.config import (
    PRESETS,
    ConfigError,
    Layer,
    RLLMConfig,
    environment_layer,
    from_config,
    get_deepcoder_config,
    get_smollm2_config,
    read_layer,
    resolve,
)
from rllm_assets.config.resolve import known_keys

PRESET = Layer("preset smollm2", PRESETS["smollm2"], is_preset=True)


def test_later_layers_win_and_the_origin_is_kept():
    found = resolve(
        PRESET,
        Layer("benchmark.yaml", {"training": {"seed": 1, "batch_size": 4}}),
        Layer("tuned", {"training.batch_size": 16}),
        Layer("run config", {"training.seed": 3}),
    )
    assert (found.config.training.seed, found.config.training.batch_size) == (3, 16)
    assert found.origins["training.seed"] == "run config"
    assert found.origins["training.batch_size"] == "tuned"
    assert found.origins["training.algorithm"] == "preset smollm2"
    lines = found.to_yaml().splitlines()
    assert "training.seed: 3  # run config" in lines
    assert "training.temperature: 1.0  # default" in lines


def test_what_is_written_beside_the_checkpoint_reads_back_as_the_same_configuration():
    found = resolve(PRESET, Layer("run config", {"rewards.terms": {"resolved": 1.0, "format": 0.1}}))
    read = yaml.safe_load(found.to_yaml())
    assert resolve(Layer("file", {key: read[key] for key in found.origins})).config == found.config
    assert set(read) == set(known_keys())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"training": {"lerning_rate": 1}}, "unknown key training.lerning_rate; did you mean training.learning_rate?"),
        ({"learning_rate": 1}, "unknown key learning_rate; did you mean training.learning_rate?"),
        ({"training.learning_rate": -1}, "training.learning_rate: Input should be greater than 0, not -1"),
        ({"training.algorithm": "dpo"}, "training.algorithm: Input should be 'grpo', 'grpo_positive', 'grpo_plus'"),
        ({"training.max_steps": "many"}, "training.max_steps: Input should be a valid integer"),
        ({"model": {"lora_rank": 0}}, "model.lora_rank: Input should be greater than 0, not 0"),
        ({"serving.name": "Not A Slug"}, "serving.name: String should match pattern"),
        ({"tuning.space": {"training.learning_rate": {"low": 2, "high": 1}}}, "give low < high, or choices"),
        ({"training": 3}, "training: a mapping of config keys is expected"),
    ],
)
def test_a_wrong_key_is_named_with_its_layer(keys, message):
    with pytest.raises(ConfigError) as caught:
        resolve(PRESET, Layer("my.yaml", keys))
    assert "my.yaml" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"training.gae_lambda": 0.9}, "training.gae_lambda has no effect without a critic"),
        ({"training.clip_high": 0.28}, "training.clip_high has no effect when each batch is used for one update"),
        (
            {"training.minibatches": 2, "training.dual_clip": 3.0},
            "training.dual_clip has no effect where no advantage is negative",
        ),
        ({"training.kl_estimator": "k2"}, "training.kl_estimator has no effect while training.kl_coefficient is 0"),
        (
            {"training.warm_start": "none", "training.warm_start_epochs": 2},
            "training.warm_start_epochs has no effect while training.warm_start is none",
        ),
        ({"tuning.trials": 0, "tuning.steps": 3}, "tuning.steps has no effect while tuning.trials is 0"),
        (
            {"training.algorithm": "ppo", "training.overlong_filtering": True},
            "training.overlong_filtering has no effect with a critic",
        ),
        (
            {"training.max_steps": None, "training.max_minutes": 5, "training.schedule": "cosine"},
            "training.schedule has no effect without training.max_steps or training.epochs",
        ),
        (
            {"trajectories.endpoint_model": "m"},
            "trajectories.endpoint_model has no effect without trajectories.endpoint",
        ),
        (
            {"trajectories.rollouts_per_issue": 0, "trajectories.endpoint": "http://h/v1"},
            "trajectories.endpoint has no effect while trajectories.rollouts_per_issue is 0",
        ),
        ({"serving.namespace": "prod"}, "serving.namespace has no effect while serving.target is local"),
        ({"evaluation.gate": "loads_and_answers", "evaluation.alpha": 0.01}, "evaluation.alpha has no effect"),
        (
            {"distributed.ray_address": "x:1"},
            "distributed.ray_address has no effect while distributed.compute is local",
        ),
    ],
)
def test_a_key_that_would_do_nothing_is_an_error(keys, reason):
    with pytest.raises(ConfigError) as caught:
        resolve(PRESET, Layer("my.yaml", keys))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"training.algorithm": "ppo", "training.gae_lambda": 0.9},
        {"training.minibatches": 2, "training.clip_high": 0.28},
        {"training.kl_coefficient": 0.1, "training.kl_estimator": "k2"},
        {"serving.target": "kserve", "serving.namespace": "prod"},
    ],
)
def test_the_same_keys_are_welcome_where_they_do_something(keys):
    assert isinstance(resolve(PRESET, Layer("my.yaml", keys)).config, RLLMConfig)


@pytest.mark.parametrize(
    ("preset", "keys", "dropped"),
    [
        ("smollm2", {"training.warm_start": "none"}, "training.warm_start_learning_rate"),
        ("smollm2", {"tuning": {"trials": 0}}, "tuning.space"),
        ("deepcoder", {"distributed.compute": "local"}, "distributed.gpus_per_worker"),
    ],
)
def test_a_presets_key_that_a_person_left_without_effect_is_dropped(preset, keys, dropped):
    found = resolve(Layer("preset", PRESETS[preset], is_preset=True), Layer("my.yaml", keys))
    assert dropped not in found.origins
    assert from_config(found.config).config == found.config


def test_a_configuration_built_in_python_is_checked_too():
    config = get_smollm2_config()
    idle = config.model_copy(update={"training": config.training.model_copy(update={"gae_lambda": 0.9})})
    with pytest.raises(ConfigError, match=r"RLLMConfig: training\.gae_lambda has no effect without a critic"):
        from_config(idle)
    none = config.model_copy(update={"training": config.training.model_copy(update={"warm_start": "none"})})
    assert from_config(none).config == none


def test_the_environment_is_a_layer(monkeypatch):
    monkeypatch.setenv("RLLM_CONFIG", '{"training.seed": 7}')
    found = resolve(PRESET, environment_layer())
    assert (found.config.training.seed, found.origins["training.seed"]) == (7, "RLLM_CONFIG")
    monkeypatch.setenv("RLLM_CONFIG", "{")
    with pytest.raises(ConfigError, match=r"\$RLLM_CONFIG is not JSON"):
        environment_layer()


@pytest.mark.parametrize("config", [get_smollm2_config(), get_deepcoder_config()])
def test_a_configuration_goes_to_yaml_and_back(config, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert RLLMConfig.from_yaml(path) == config


def test_training_needs_an_end():
    with pytest.raises(ConfigError, match="set max_steps, epochs or max_minutes"):
        resolve(PRESET, Layer("my.yaml", {"training.max_steps": None}))


def test_every_key_is_described():
    assert [key for key, description in known_keys().items() if not description] == []


def test_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        get_smollm2_config().training.seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_deepcoders_recipe():
    config = get_deepcoder_config()
    assert config.model.name == "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"
    assert (config.training.algorithm, config.training.group_size, config.training.temperature) == ("grpo_plus", 8, 0.6)
    assert (config.training.batch_size, config.training.minibatches, config.training.kl_coefficient) == (128, 2, 0.0)


def test_a_configuration_file_that_is_no_yaml_is_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("training: [")
    with pytest.raises(ConfigError, match=r"config.yaml: not readable as YAML"):
        read_layer(path)
