"""Merging layers of configuration: each key's value comes from the last layer that sets it, and says which one that was."""

import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rllm_assets.config.presets import PRESETS
from rllm_assets.config.schema import RLLMConfig


class ConfigError(ValueError):
    """A configuration is wrong; the message names the key, the layer it came from and what to do."""


@dataclass(frozen=True)
class Layer:
    """Some keys of the tree and where they were written, such as a file's name.

    A preset's keys stand for defaults: one that another layer leaves without effect is dropped, where a person's is an error.
    """

    origin: str
    values: Mapping[str, Any]
    is_preset: bool = False


@dataclass(frozen=True)
class Resolved:
    """A merged configuration and the origin of each key that a layer set."""

    config: RLLMConfig
    origins: Mapping[str, str]

    def to_yaml(self) -> str:
        """Return every key with its value, and its origin as a comment."""
        lines: list[str] = []
        for key, value in _leaves(self.config.model_dump(mode="json")):
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
            lines.append(f"{key}: {text}  # {self.origins.get(key, 'default')}")
        return "\n".join(lines) + "\n"


def resolve(*layers: Layer) -> Resolved:
    """Merge layers, the later over the earlier, and check the result.

    Keys may be nested (``{"training": {"seed": 1}}``) or dotted (``{"training.seed": 1}``).

    Raises:
        ConfigError: for an unknown key, a value out of range, or a key without effect in the chosen mode.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        for key, value in _leaves(_checked_mapping(layer.values, layer.origin)):
            _check_known(key, layer.origin)
            values[key] = value
            origins[key] = layer.origin
    config = _validated(values, origins)
    presets = {layer.origin for layer in layers if layer.is_preset}
    for key, reason in list(idle_keys(config, origins)):
        if origins[key] not in presets:
            raise ConfigError(f"{origins[key]}: {key} has no effect {reason}; remove it")
        values.pop(key, None)
    kept = {key: origin for key, origin in origins.items() if key in values}
    return Resolved(_validated(values, kept), kept)


def _validated(values: Mapping[str, Any], origins: Mapping[str, str]) -> RLLMConfig:
    try:
        return RLLMConfig.model_validate(_nested(values))
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from None


def from_config(config: RLLMConfig, origin: str = "RLLMConfig") -> Resolved:
    """Return a configuration that was built in Python, each key that was set with one origin.

    Raises:
        ConfigError: for a key without effect in the chosen mode; one that has a preset's value is let pass.
    """
    set_keys = {
        f"{part}.{name}": origin for part in config.model_fields_set for name in getattr(config, part).model_fields_set
    }
    for key, reason in idle_keys(config, set_keys):
        part, name = key.split(".", 1)
        value = config.model_dump(mode="json")[part][name]
        if all(preset.get(part, {}).get(name) != value for preset in PRESETS.values()):
            raise ConfigError(f"{origin}: {key} has no effect {reason}; remove it")
    return Resolved(config, set_keys)


def read_layer(path: Path) -> Layer:
    """Read a YAML file of config keys.

    Raises:
        ConfigError: where the file cannot be read or is not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    return Layer(str(path), _checked_mapping(values if values is not None else {}, str(path)))


def environment_layer() -> Layer:
    """Return the keys of ``$RLLM_CONFIG``, JSON, by which a deployment sets what holds for every run.

    Raises:
        ConfigError: where it is no JSON object.
    """
    try:
        values = json.loads(os.environ.get("RLLM_CONFIG") or "{}")
    except json.JSONDecodeError as error:
        raise ConfigError(f"$RLLM_CONFIG is not JSON: {error}") from None
    return Layer("RLLM_CONFIG", _checked_mapping(values, "$RLLM_CONFIG"))


IdleRule = tuple[Sequence[str], Callable[[RLLMConfig], bool], str]

_IDLE_RULES: Sequence[IdleRule] = (
    (
        (
            "training.gae_lambda",
            "training.value_clip",
            "training.critic_learning_rate",
            "training.critic_warmup_steps",
        ),
        lambda c: (c.training.advantage or c.training.algorithm) not in ("ppo", "gae"),
        "without a critic (training.algorithm is not ppo)",
    ),
    (
        ("training.clip_low", "training.clip_high", "training.dual_clip", "training.value_clip"),
        lambda c: c.training.minibatches == 1 and c.training.epochs_per_batch == 1,
        "when each batch is used for one update (training.minibatches and training.epochs_per_batch are 1)",
    ),
    (
        ("training.clip_low", "training.dual_clip"),
        lambda c: (c.training.advantage or c.training.algorithm) in ("grpo_positive", "group_positive"),
        "where no advantage is negative (training.algorithm is grpo_positive)",
    ),
    (
        ("training.discount",),
        lambda c: (c.training.advantage or c.training.algorithm) not in ("ppo", "gae", "reinforce_pp"),
        "where the answer, not each token, has an advantage (training.algorithm is neither ppo nor reinforce_pp)",
    ),
    (
        ("training.overlong_filtering", "training.uniform_groups", "training.sampling_rounds"),
        lambda c: (c.training.advantage or c.training.algorithm) in ("ppo", "gae"),
        "with a critic (training.algorithm is ppo)",
    ),
    (
        ("training.uniform_groups",),
        lambda c: c.training.sampling_rounds > 1,
        "while training.sampling_rounds is above 1, which drops them",
    ),
    (
        ("training.schedule",),
        lambda c: c.training.max_steps is None and c.training.epochs is None,
        "without training.max_steps or training.epochs, which say where it ends",
    ),
    (("model.sampler_memory",), lambda c: c.model.sampler != "vllm", "while model.sampler is not vllm"),
    (("training.kl_estimator",), lambda c: c.training.kl_coefficient == 0, "while training.kl_coefficient is 0"),
    (
        ("training.warm_start_epochs", "training.warm_start_learning_rate", "training.warm_start_batch_size"),
        lambda c: c.training.warm_start == "none",
        "while training.warm_start is none",
    ),
    (
        ("trajectories.temperature", "trajectories.endpoint"),
        lambda c: c.trajectories.rollouts_per_issue == 0,
        "while trajectories.rollouts_per_issue is 0",
    ),
    (
        (
            "trajectories.endpoint_model",
            "trajectories.endpoint_api",
            "trajectories.endpoint_key",
            "trajectories.endpoint_requests",
            "trajectories.endpoint_seconds",
        ),
        lambda c: c.trajectories.endpoint is None,
        "without trajectories.endpoint",
    ),
    (
        ("splits.before", "splits.test_from"),
        lambda c: c.splits.mode != "time",
        "while splits.mode is not time",
    ),
    (
        ("splits.val_fraction", "splits.test_fraction"),
        lambda c: c.splits.mode == "time",
        "while splits.mode is time, where splits.before divides",
    ),
    (("splits.repository_from",), lambda c: c.splits.mode != "group", "while splits.mode is not group"),
    (
        ("splits.drop_always_solved", "splits.drop_never_solved"),
        lambda c: c.trajectories.rollouts_per_issue == 0,
        "while trajectories.rollouts_per_issue is 0",
    ),
    (("tuning.steps", "tuning.issues", "tuning.space"), lambda c: c.tuning.trials == 0, "while tuning.trials is 0"),
    (("evaluation.alpha",), lambda c: c.evaluation.gate != "beats_base", "while evaluation.gate is not beats_base"),
    (
        ("distributed.ray_address", "distributed.cpus_per_worker", "distributed.gpus_per_worker"),
        lambda c: c.distributed.compute == "local",
        "while distributed.compute is local",
    ),
    (("serving.port",), lambda c: c.serving.target == "kserve", "while serving.target is kserve"),
    (
        ("serving.namespace", "serving.adapter_uri", "serving.base_uri", "serving.gpus"),
        lambda c: c.serving.target == "local",
        "while serving.target is local",
    ),
)


def idle_keys(config: RLLMConfig, set_keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each key of `set_keys` that does nothing under `config`, with the reason."""
    for keys, is_idle, reason in _IDLE_RULES:
        for key in set_keys:
            if any(key == rule or key.startswith(rule + ".") for rule in keys) and is_idle(config):
                yield key, reason


def known_keys() -> dict[str, str]:
    """Return every dotted key of the tree with its description."""
    return {
        f"{part}.{name}": field.description or ""
        for part, part_field in RLLMConfig.model_fields.items()
        for name, field in _part_class(part_field.annotation).model_fields.items()
    }


def _part_class(annotation: Any) -> type[BaseModel]:
    return annotation


def _checked_mapping(values: Any, origin: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin}: a mapping of config keys is expected, not {type(values).__name__}")
    return values


# Keys whose value is a mapping of its own, replaced as a whole.
_MAPPINGS = ("rewards.terms", "tuning.space", "training.lengthening")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in _MAPPINGS and "." not in key:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        part, name = key.split(".", 1)
        tree.setdefault(part, {})[name] = value
    tree.setdefault("training", {})
    return tree


def _check_known(key: str, origin: str) -> None:
    known = known_keys()
    if key in known:
        return
    if key in RLLMConfig.model_fields:
        raise ConfigError(f"{origin}: {key}: a mapping of config keys is expected")
    name = key.rsplit(".", 1)[-1]
    close = difflib.get_close_matches(key, known, n=1) or [k for k in known if k.endswith("." + name)][:1]
    hint = f"did you mean {close[0]}?" if close else "known parts are " + ", ".join(RLLMConfig.model_fields)
    raise ConfigError(f"{origin}: unknown key {key}; {hint}")


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    messages: list[str] = []
    for complaint in error.errors():
        key = ".".join(str(part) for part in complaint["loc"][:2])
        value = "" if isinstance(complaint["input"], (dict, BaseModel)) else f", not {complaint['input']!r}"
        messages.append(f"{origins.get(key, 'config')}: {key}: {complaint['msg']}{value}")
    return "; ".join(messages)
