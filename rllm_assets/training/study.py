"""Optuna's storage and sampler, as the few things that tuning asks of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rllm_assets.data.hashing import content_hash
from rllm_assets.training.search_space import TuningError, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

# Random trials, the default among them, before the sampler follows what it saw.
_RANDOM_TRIALS = 5
_LOCK_SECONDS = 60


@dataclass(frozen=True)
class Proposal:
    """A trial as it is stored."""

    number: int
    params: dict[str, Value | None]
    is_default: bool
    score: float | None
    seconds: float
    error: str
    duplicate_of: int | None

    @property
    def ended(self) -> bool:
        """Whether it has a score or an error."""
        return self.score is not None or bool(self.error)


class Study:
    """One search in a storage; trials that a killed process left open are proposed again."""

    def __init__(self, path: Path, name: str, distributions: "Mapping[str, BaseDistribution]", seed: int) -> None:
        """Open or begin it; nobody else may be using it.

        Raises:
            TuningError: where the storage cannot be read.
        """
        import optuna
        from optuna.trial import TrialState
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = dict(distributions)
        self._seed = seed
        try:
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _LOCK_SECONDS}}
            )
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
        except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise TuningError(
                f"{path} is no storage of Optuna's that can be used ({reason}); remove it to tune anew"
            ) from None
        self._open: dict[int, Trial] = {}
        self._left: list[dict[str, Value]] = []
        for frozen in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._drop(frozen)
        while self._study.get_trials(states=(TrialState.WAITING,)):
            self._drop(self._study.ask())

    def _drop(self, trial: "FrozenTrial | Trial") -> None:
        """End a trial that nobody runs any more without counting it, and remember what it was to try."""
        from optuna.trial import TrialState

        marks = trial.user_attrs
        if "params" in marks and not marks.get("default") and not marks.get("error"):
            self._left.append(marks["params"])
        self._study.tell(trial.number, state=TrialState.FAIL)

    def ask(self) -> Proposal:
        """Return the next trial, by the sampler, or one that was left open."""
        from optuna.samplers import TPESampler

        if self._left:
            return self.ask_for(self._left.pop(0))
        # Each trial has a seed of its own, so that a search that goes on does not draw again what it began with.
        number = len(self._study.get_trials(deepcopy=False))
        seed = int(content_hash([self._seed, number])[:8], 16)
        self._study.sampler = TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS, constant_liar=True)
        return self._opened(self._study.ask(self._distributions))

    def ask_for(
        self, params: Mapping[str, Value | None], *, is_default: bool = False, in_space: bool = True
    ) -> Proposal:
        """Return a trial of these values; outside the space the sampler does not hear of it."""
        if not in_space:
            return self._opened(self._study.ask(), params, default=is_default)
        self._study.enqueue_trial(dict(params))
        return self._opened(self._study.ask(self._distributions), params, default=is_default)

    def _opened(
        self, trial: "Trial", params: Mapping[str, Value | None] | None = None, *, default: bool = False
    ) -> Proposal:
        trial.set_user_attr("params", dict(trial.params if params is None else params))
        trial.set_user_attr("default", default)
        self._open[trial.number] = trial
        return self.trial(trial.number)

    def end(self, number: int, score: float, seconds: float) -> None:
        """Store a score."""
        self._mark(number, seconds=seconds)
        self._study.tell(number, score)

    def end_as(self, proposal: Proposal, earlier: Proposal) -> None:
        """Store that a trial comes to the same as an earlier one."""
        from optuna.trial import TrialState

        self._mark(proposal.number, duplicate_of=earlier.number, error=earlier.error)
        if earlier.score is None:
            self._study.tell(proposal.number, state=TrialState.FAIL)
        else:
            self._study.tell(proposal.number, earlier.score)

    def fail(self, number: int, error: str) -> None:
        """Store an error."""
        from optuna.trial import TrialState

        self._mark(number, error=error)
        self._study.tell(number, state=TrialState.FAIL)

    def _mark(self, number: int, **values: object) -> None:
        trial = self._open.pop(number)
        for name, value in values.items():
            trial.set_user_attr(name, value)

    def trials(self) -> list[Proposal]:
        """Return the trials in their order, less those that were left open by a process that died."""
        found = [_proposal(frozen) for frozen in self._study.get_trials(deepcopy=False)]
        return [proposal for proposal in found if proposal.ended or proposal.number in self._open]

    def trial(self, number: int) -> Proposal:
        """Return one trial."""
        return _proposal(self._study.get_trials(deepcopy=False)[number])


def _proposal(frozen: "FrozenTrial") -> Proposal:
    marks = frozen.user_attrs
    return Proposal(
        number=frozen.number,
        params=marks.get("params", {}),
        is_default=marks.get("default", False),
        score=frozen.value,
        seconds=marks.get("seconds", 0.0),
        error=marks.get("error", ""),
        duplicate_of=marks.get("duplicate_of"),
    )
