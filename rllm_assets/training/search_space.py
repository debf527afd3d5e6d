"""The configuration keys that tuning may vary, checked before any trial is paid for."""

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import ValidationError

from rllm_assets.config import RLLMConfig
from rllm_assets.config.resolve import idle_keys, known_keys
from rllm_assets.config.schema import SearchRange

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value: TypeAlias = float | int | str
Point: TypeAlias = dict[str, Value]


class TuningError(RuntimeError):
    """The search for hyperparameters cannot start or go on; the message says why."""


_SEARCHED_PARTS = ("model", "training")
_LENGTH = "every trial is tuning.steps long"
_MEASURE = "every trial is measured in the same way"
_NO_EFFECT = "results do not depend on it"
_FIXED: Mapping[str, str] = {
    "model.name": "the trajectories are those of one model",
    "training.seed": "a seed is luck, no setting",
    "training.max_steps": _LENGTH,
    "training.epochs": _LENGTH,
    "training.max_minutes": _LENGTH,
    "training.patience": _LENGTH,
    "training.evaluate_every": _MEASURE,
    "training.evaluation_samples": _MEASURE,
    "training.checkpoint_every": _NO_EFFECT,
    "training.keep_checkpoints": _NO_EFFECT,
    "training.micro_batch_tokens": _NO_EFFECT,
    "training.stop_after_bad_losses": _NO_EFFECT,
}


def with_values(config: RLLMConfig, values: Mapping[str, Value]) -> RLLMConfig:
    """Return the configuration with dotted keys replaced.

    Raises:
        ValidationError: where a value is out of range.
    """
    tree = config.model_dump()
    for key, value in values.items():
        part, name = key.split(".", 1)
        tree[part][name] = value
    return RLLMConfig.model_validate(tree)


@dataclass(frozen=True)
class Space:
    """The keys that are searched, around a default configuration."""

    config: RLLMConfig
    ranges: Mapping[str, SearchRange]

    @classmethod
    def of(cls, config: RLLMConfig) -> "Space":
        """Return the configured space.

        Raises:
            TuningError: for a key that is unknown, is not for trials to vary, has no effect, or has a value out of range.
        """
        space = cls(config, config.tuning.space)
        for key, allowed in space.ranges.items():
            _check_key(key)
            space._check_values(key, allowed)
        space._check_effects()
        return space

    def default(self) -> dict[str, Value | None]:
        """Return the searched keys' values in the default configuration."""
        return {key: _value(self.config, key) for key in self.ranges}

    def contains(self, point: Mapping[str, Value | None]) -> bool:
        """Tell whether every value lies in its range."""
        return all(_allows(allowed, point[key]) for key, allowed in self.ranges.items())

    def overrides(self, point: Mapping[str, Value | None]) -> Point:
        """Return what a point changes in the default configuration, less the keys that have no effect then."""
        default = self.default()
        changed = {key: value for key, value in point.items() if value is not None and value != default[key]}
        idle = {key for key, _ in idle_keys(with_values(self.config, changed), dict.fromkeys(changed, ""))}
        return {key: value for key, value in sorted(changed.items()) if key not in idle}

    def distributions(self) -> "dict[str, BaseDistribution]":
        """Return the space in Optuna's terms."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for key, allowed in self.ranges.items():
            if allowed.choices is not None:
                found[key] = CategoricalDistribution(allowed.choices)
                continue
            assert allowed.low is not None, "checked by the configuration"
            assert allowed.high is not None, "checked by the configuration"
            if _is_integer(key):
                found[key] = IntDistribution(int(allowed.low), int(allowed.high), log=allowed.log)
            else:
                found[key] = FloatDistribution(allowed.low, allowed.high, log=allowed.log)
        return found

    def _check_values(self, key: str, allowed: SearchRange) -> None:
        if allowed.log and (allowed.low or 0) <= 0:
            raise TuningError(
                f"tuning.space: {key}: a search by orders of magnitude needs low above 0, not {allowed.low}"
            )
        for value in _ends(allowed):
            if allowed.choices is None and _is_integer(key) and value != int(value):
                raise TuningError(f"tuning.space: {key} is a whole number; {value} is none")
            try:
                with_values(self.config, {key: _of_kind(key, value)})
            except ValidationError as error:
                complaint = error.errors()[0]["msg"]
                raise TuningError(f"tuning.space: {key} cannot be {value}: {complaint}") from None

    def _check_effects(self) -> None:
        """Refuse a key that does nothing at either end of the space, nor beside the defaults."""
        corners = [{key: _of_kind(key, _ends(allowed)[end]) for key, allowed in self.ranges.items()} for end in (0, -1)]
        corners += [{key: corner[key]} for key in self.ranges for corner in corners[:2]]
        reasons: dict[str, list[str]] = {key: [] for key in self.ranges}
        tried = dict.fromkeys(self.ranges, 0)
        for corner in corners:
            idle = dict(idle_keys(with_values(self.config, corner), dict.fromkeys(corner, "")))
            for key in corner:
                tried[key] += 1
                if key in idle:
                    reasons[key].append(idle[key])
        for key, found in reasons.items():
            if len(found) == tried[key]:
                raise TuningError(f"tuning.space: {key} has no effect {found[0]}; remove it")


def _check_key(key: str) -> None:
    known = known_keys()
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        close = close or [name for name in known if name.endswith("." + key.rsplit(".", 1)[-1])][:1]
        hint = f"did you mean {close[0]}?" if close else "keys look like training.learning_rate"
        raise TuningError(f"tuning.space: unknown key {key}; {hint}")
    if key.split(".", 1)[0] not in _SEARCHED_PARTS:
        raise TuningError(f"tuning.space: {key} cannot be searched: only keys of model and training make a trial")
    if key in _FIXED:
        raise TuningError(f"tuning.space: {key} cannot be searched: {_FIXED[key]}")


def _value(config: RLLMConfig, key: str) -> Any:
    part, name = key.split(".", 1)
    return getattr(getattr(config, part), name)


def _ends(allowed: SearchRange) -> Sequence[Any]:
    return allowed.choices if allowed.choices is not None else (allowed.low, allowed.high)


def _of_kind(key: str, value: Any) -> Value:
    return int(value) if _is_integer(key) and isinstance(value, float) else value


def _allows(allowed: SearchRange, value: Value | None) -> bool:
    if allowed.choices is not None:
        return value in allowed.choices
    return isinstance(value, int | float) and (allowed.low or 0) <= value <= (allowed.high or 0)


def _is_integer(key: str) -> bool:
    part, name = key.split(".", 1)
    part_class: Any = RLLMConfig.model_fields[part].annotation
    kinds = _kinds(part_class.model_fields[name].annotation)
    return int in kinds and float not in kinds


def _kinds(annotation: Any) -> set[Any]:
    """Return the plain types in an annotation such as ``Annotated[int, ...] | None``."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _kinds(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return set().union(*(_kinds(member) for member in typing.get_args(annotation)))
    return {annotation}
