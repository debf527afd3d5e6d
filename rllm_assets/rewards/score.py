"""Adding up reward terms."""

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from rllm_assets.config import RewardsConfig
from rllm_assets.rewards.terms import TERMS, Judged, Term


class ScoreError(ValueError):
    """A reward term cannot be found, or returned no number."""


@dataclass(frozen=True)
class Score:
    """The reward of an answer, or None where there is no verdict to reward, with the value of each term."""

    reward: float | None
    terms: Mapping[str, float]


class Scorer:
    """Scores answers by the terms of a configuration."""

    def __init__(self, config: RewardsConfig, *, for_training: bool) -> None:
        """Look the terms up; scores for training refuse verdicts that a candidate could forge.

        Raises:
            ScoreError: for a name that is neither a known term nor an import path.
        """
        self._allow_in_process = config.allow_in_process or not for_training
        self._terms = {name: (_find(name), weight) for name, weight in config.terms.items()}

    def score(self, judged: Judged) -> Score:
        """Return the weighted sum of the terms.

        Raises:
            ScoreError: where a verdict was given in process and the configuration does not allow training on such, or a term
                returns no finite number.
        """
        if not judged.verdict.counts:
            return Score(None, {})
        if judged.verdict.in_process and not self._allow_in_process:
            raise ScoreError(
                f"{judged.issue.instance_id} is judged in process, by tests that a candidate could forge; "
                "set rewards.allow_in_process to train on such verdicts"
            )
        values = {name: float(term(judged)) for name, (term, _) in self._terms.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise ScoreError(f"rewards.terms.{name} returned {value} for {judged.issue.instance_id}")
        return Score(sum(values[name] * weight for name, (_, weight) in self._terms.items()), values)


ENTRY_POINTS = "rllm_assets.rewards"


def _find(name: str) -> Term:
    """Return a term by its name, here or in an installed package's entry points, or by its import path."""
    if name in TERMS:
        return TERMS[name]
    installed = {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
    name = installed[name].value if name in installed else name
    module, separator, attribute = name.partition(":")
    if not separator:
        raise ScoreError(
            f"rewards.terms: unknown term {name!r}; known are {', '.join([*TERMS, *installed])}, or give module:function"
        )
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ScoreError(f"rewards.terms: {name!r} cannot be imported: {error}") from None
