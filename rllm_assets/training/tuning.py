"""The search for hyperparameters: Optuna asks here, trials run on compute, and the winner has to win twice."""

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rllm_assets.compute import Compute, Outcome, Size, open_compute
from rllm_assets.config import Resolved, RLLMConfig
from rllm_assets.data.hashing import content_hash
from rllm_assets.evaluation.compare import spread
from rllm_assets.evaluation.statistics import Comparison, compare
from rllm_assets.models.found import find_model
from rllm_assets.training import trials
from rllm_assets.training.records import TrainingData, run_key
from rllm_assets.training.search_space import Space, TuningError, Value, with_values
from rllm_assets.training.study import Proposal, Study
from rllm_assets.training.trials import Remeasured, Score, Task, trial_config

# Of the second look: enough to tell ten points apart on 16 issues, and cheap beside the trials.
CONFIRMATION_SAMPLES = 6
# A wrong choice costs little here, so the test is not as strict as the gate's.
LEVEL = 0.1
# Where the trials leave their warm starts, under the search's directory; a training that comes after may begin with one.
WARM_STARTS = "warm_starts"
_RESAMPLES = 10_000


class Trial(BaseModel):
    """One trial, as it is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    params: dict[str, Value | None] = Field(description="Values of the searched keys.")
    score: float | None = Field(default=None, description="Pass rate on the fold's issues after the last step.")
    seconds: float = 0.0
    state: Literal["finished", "failed", "duplicate"]
    is_default: bool = Field(default=False, description="Whether this is the configuration without tuning.")
    note: str = Field(default="", description="Why it failed, or which trial it repeats.")


@dataclass(frozen=True)
class TuningResult:
    """What tuning found.

    Attributes:
        overrides: dotted keys in which the winner differs from the default; empty where the default is kept.
        trials: all of them, in their order.
        kept_default: whether no trial was shown to be better.
        reason: why, in one sentence.
        confirmation: the second look at the winner beside the default, where there was one.
    """

    overrides: dict[str, Value]
    trials: list[Trial]
    kept_default: bool
    reason: str
    confirmation: Comparison | None = None


@dataclass(frozen=True)
class Work:
    """What tuning has done elsewhere: a trial, and the second look at one."""

    run_trial: Callable[[Task], Score] = trials.run_trial
    remeasure: Callable[[Task, int, int], Remeasured] = trials.remeasure


def tune(
    config: RLLMConfig | Resolved,
    data: TrainingData,
    directory: Path,
    on_trial: Callable[[Trial], None] | None = None,
    *,
    allow_unsandboxed: bool = False,
    compute: Compute | None = None,
    work: Work | None = None,
) -> TuningResult:
    """Try configurations in short trainings, each scored by its pass rate on issues of the fold.

    The default configuration is the first trial. The best one is measured beside it once more, with other seeds and more
    answers, and taken only where it wins by a paired bootstrap at `LEVEL`. A search that was killed goes on where it was.

    Args:
        config: the default; `tuning` says what is searched and for how long.
        data: the training split, the fold apart.
        directory: of the storage and the trials' adapters, shared by workers; one for each benchmark.
        on_trial: called here with each trial that ends.
        allow_unsandboxed: judge without a strong sandbox.
        compute: where trials run; by default where `distributed` says.
        work: replaces what trials do.

    Raises:
        TuningError: where the space is wrong, there is no fold, another process tunes here, or every trial fails.
    """
    plain = config.config if isinstance(config, Resolved) else config
    if plain.tuning.trials == 0:
        return TuningResult({}, [], True, "tuning.trials is 0")
    space = Space.of(plain)
    issues = spread(data.fold, plain.tuning.issues)
    if not issues:
        raise TuningError("tuning measures on fold 0 of the training split, and it is empty; set tuning.trials to 0")
    measured = TrainingData(data.train, issues, data.attempts, data.format_name)
    with _alone(directory), nullcontext(compute) if compute else open_compute(plain.distributed) as place:
        tuner = _Tuner(
            space, measured, directory, place, allow_unsandboxed, work or Work(), on_trial or (lambda _: None)
        )
        tuner.search()
        return tuner.decide()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the directory, so that trials that are under way in the storage are known to be dead."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TuningError(f"another process is tuning in {directory}; wait for it") from None
        yield


class _Tuner:
    def __init__(
        self,
        space: Space,
        data: TrainingData,
        directory: Path,
        place: Compute,
        allow_unsandboxed: bool,
        work: Work,
        on_trial: Callable[[Trial], None],
    ) -> None:
        self._space = space
        self._data = data
        self._directory = directory.absolute()
        self._place = place
        self._allow_unsandboxed = allow_unsandboxed
        self._work = work
        self._on_trial = on_trial
        self._settings = space.config.tuning
        self._name = self._study_name()
        self._study = Study(self._directory / "study.db", self._name, space.distributions(), space.config.training.seed)
        # Proposals that repeat one that is under way, by the number of that one.
        self._waiting: dict[int, list[Proposal]] = {}

    def _study_name(self) -> str:
        """Return the hash of all that scores depend on; the number of trials may grow."""
        config = self._space.config
        base = find_model(config.model.name)
        key = run_key(trial_config(config, here=True), self._data, base.content_hash)
        ranges = {name: allowed.model_dump(mode="json") for name, allowed in self._space.ranges.items()}
        return content_hash([key, ranges, config.evaluation.temperature])[:16]

    def search(self) -> None:
        """Run the trials that are left."""
        left = self._settings.trials - len(self._study.trials())
        if left <= 0:
            return
        distributed = self._space.config.distributed
        size = Size(distributed.cpus_per_worker, distributed.gpus_per_worker)
        with self._place.crew(nullcontext, size, left) as crew:
            for outcome in crew.run(_call, self._tasks(), retries=1):
                self._note(outcome)

    def _tasks(self) -> Iterator[tuple[Callable[[Task], Score], Task]]:
        while len(self._study.trials()) < self._settings.trials:
            proposal = self._propose()
            if self._is_repetition(proposal):
                continue
            yield self._work.run_trial, self._task(proposal)

    def _propose(self) -> Proposal:
        default = self._space.default()
        if not any(proposal.is_default for proposal in self._study.trials()):
            return self._study.ask_for(default, is_default=True, in_space=self._space.contains(default))
        return self._study.ask()

    def _is_repetition(self, proposal: Proposal) -> bool:
        """Give a proposal the result of an earlier one that comes to the same configuration, now or when that has ended."""
        meaning = self._space.overrides(proposal.params)
        for earlier in self._study.trials():
            if earlier.number >= proposal.number or earlier.duplicate_of is not None:
                continue
            if self._space.overrides(earlier.params) != meaning:
                continue
            if earlier.ended:
                self._repeat(proposal, earlier)
            else:
                self._waiting.setdefault(earlier.number, []).append(proposal)
            return True
        return False

    def _repeat(self, proposal: Proposal, earlier: Proposal) -> None:
        self._study.end_as(proposal, earlier)
        self._report(proposal.number)

    def _task(self, proposal: Proposal) -> Task:
        changed = with_values(self._space.config, self._space.overrides(proposal.params))
        return Task(
            proposal.number,
            trial_config(changed, here=self._place.in_process),
            self._data,
            self._directory / "trials" / f"{self._name}-{proposal.number:04d}",
            self._directory / WARM_STARTS,
            self._allow_unsandboxed,
        )

    def _note(self, outcome: Outcome[tuple[Callable[[Task], Score], Task], Score]) -> None:
        number = outcome.item[1].number
        if outcome.error is None:
            score = outcome.value()
            self._study.end(number, score.pass_rate, score.seconds)
        else:
            self._study.fail(number, f"{type(outcome.error).__name__}: {' '.join(str(outcome.error).split())[:500]}")
        self._report(number)
        ended = self._study.trial(number)
        for proposal in self._waiting.pop(number, []):
            self._repeat(proposal, ended)

    def _report(self, number: int) -> None:
        self._on_trial(_shown(self._study.trial(number)))

    def decide(self) -> TuningResult:
        """Choose between the default and the best trial."""
        proposals = self._study.trials()
        shown = [_shown(proposal) for proposal in proposals]
        scored = [proposal for proposal in proposals if proposal.score is not None and proposal.duplicate_of is None]
        if not scored:
            raise TuningError(f"all {len(shown)} trials failed; the first: {shown[0].note}")
        default = next((proposal for proposal in proposals if proposal.is_default), proposals[0])
        best = max(scored, key=lambda proposal: (proposal.score, proposal.is_default, -proposal.number))
        overrides = self._space.overrides(best.params)
        if default.score is None:
            reason = f"the default configuration failed ({default.error}); trial {best.number} scored {best.score:.1%}"
            return TuningResult(overrides, shown, False, reason)
        if best.number == default.number:
            return TuningResult({}, shown, True, f"no trial scored above the default's {default.score:.1%}")
        comparison = self._confirm(default, best)
        difference = comparison.difference
        won = difference.value > 0 and comparison.p_value < LEVEL
        reason = (
            f"trial {best.number} scored {best.score:.1%} and the default {default.score:.1%}; measured again on "
            f"{comparison.issues} issues of {comparison.groups} groups, the difference was {difference.value:+.1%} "
            f"({difference.low:+.1%} to {difference.high:+.1%}, p = {comparison.p_value:.3f}), "
            f"{'above' if won else 'not above'} noise at p < {LEVEL}"
        )
        return TuningResult(overrides if won else {}, shown, not won, reason, comparison)

    def _confirm(self, default: Proposal, best: Proposal) -> Comparison:
        """Compare two trials by answers with seeds that no trial has used."""
        seed = self._space.config.evaluation.seed + 1
        distributed = self._space.config.distributed
        size = Size(distributed.cpus_per_worker, distributed.gpus_per_worker)
        tasks = [(self._work.remeasure, self._task(proposal), seed) for proposal in (default, best)]
        with self._place.crew(nullcontext, size, len(tasks)) as crew:
            found = {outcome.item[1].number: outcome.value() for outcome in crew.run(_call_again, tasks, retries=1)}
        theirs, ours = found[default.number], found[best.number]
        common = sorted(theirs.rates.keys() & ours.rates.keys())
        if not common:
            raise TuningError("no issue got a verdict when the best trial was measured again")
        return compare(_by_group(theirs, common), _by_group(ours, common), _RESAMPLES, seed)


def _by_group(measured: Remeasured, ids: list[str]) -> Mapping[str, list[float]]:
    rates: dict[str, list[float]] = {}
    for instance_id in ids:
        rates.setdefault(measured.groups[instance_id], []).append(measured.rates[instance_id])
    return rates


def _shown(proposal: Proposal) -> Trial:
    repeats = proposal.duplicate_of is not None
    return Trial(
        number=proposal.number,
        params=proposal.params,
        score=proposal.score,
        seconds=proposal.seconds,
        state="duplicate" if repeats else "failed" if proposal.score is None else "finished",
        is_default=proposal.is_default,
        note=f"the same as trial {proposal.duplicate_of}" if repeats else proposal.error,
    )


def _call(_: None, work: tuple[Callable[[Task], Score], Task]) -> Score:
    run_trial, task = work
    return run_trial(task)


def _call_again(_: None, work: tuple[Callable[[Task, int, int], Remeasured], Task, int]) -> Remeasured:
    measure, task, seed = work
    return measure(task, CONFIRMATION_SAMPLES, seed)
