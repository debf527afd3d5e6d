"""The trainer: sample, verify, reward, update; checkpointed, resumable, stopped by a fold of the training split."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rllm_assets.config import RLLMConfig
from rllm_assets.data.files import atomic_directory
from rllm_assets.data.issues import Issue
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sampler
from rllm_assets.rewards import Scorer
from rllm_assets.rollouts import Judge, Rollout, collect, fitting
from rllm_assets.rollouts.collect import Verifier
from rllm_assets.training import checkpoints
from rllm_assets.training.algorithms import algorithm_of
from rllm_assets.training.batches import to_samples
from rllm_assets.training.checkpoints import RunState
from rllm_assets.training.collective import Alone, Collective
from rllm_assets.training.curriculum import Curriculum
from rllm_assets.training.records import Metrics, StepLog, TrainingData, TrainingResult, read_steps, run_key
from rllm_assets.training.rollout_log import rollout_metrics, rollout_rows
from rllm_assets.training.update import Optimizers, Updater
from rllm_assets.training.warm_adapter import WARM_START, load_warm_start, save_warm_start, warm_start_key
from rllm_assets.training.warm_start import Example, gold_examples, own_examples, warm_start

OnMetrics = Callable[[Metrics], None]


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to do."""


class Trainer:
    """One training run in one directory."""

    def __init__(
        self,
        config: RLLMConfig,
        data: TrainingData,
        directory: Path,
        verifier: Verifier,
        on_metrics: OnMetrics | None = None,
        collective: Collective | None = None,
    ) -> None:
        """Load the policy and, where the directory holds checkpoints of this very run, go back to the newest.

        Raises:
            TrainingError: where no training issue can be used.
            CheckpointError: where the directory holds another run.
            ModelError: where the model does not load.
        """
        self._config = config
        self._directory = directory
        self._collective: Collective = collective or Alone()
        self._on_metrics = on_metrics or (lambda _: None)
        self._algorithm = algorithm_of(config.training)
        self._policy = Policy(config.model, critic=self._algorithm.critic, seed=config.training.seed)
        self._optimizers = Optimizers.for_policy(self._policy, config.training)
        self._data, self._warnings = self._usable(data)
        self._judge = Judge(self._data.answer_format, verifier, Scorer(config.rewards, for_training=True))
        self._total_steps = self._count_steps()
        self._issues = {issue.instance_id: issue for issue in self._data.train}
        self._curriculum = Curriculum(
            list(self._issues), config.training.curriculum, config.training.seed, _tries(self._data)
        )
        self._updater = Updater(
            self._policy,
            self._algorithm,
            config.training,
            config.model.max_response_tokens,
            config.training.temperature,
            self._optimizers,
            self._collective,
        )
        self._sampler = Sampler(self._policy)
        key = run_key(config, self._data, self._policy.base.content_hash)
        resumed = checkpoints.resume(directory / "checkpoints", key, self._policy, self._optimizers)
        self._state = resumed or RunState(run_key=key, step=-1)
        if resumed is not None:
            self._curriculum.load_state_dict(resumed.curriculum)
        self._log = StepLog(directory / "metrics.jsonl", self._state.step)
        self._rollout_log = StepLog(directory / "rollouts.jsonl", self._state.step)

    def run(self) -> TrainingResult:
        """Train to the end, from the beginning or from where a killed run stood.

        Raises:
            TrainingError: where verdicts fail for infrastructure reasons beyond `rewards.no_verdict_alarm`.
            BadLossError: after several losses in a row that are no number.
        """
        self._began = time.monotonic() - self._state.seconds
        self._check_same_start()
        if self._state.step < 0:
            self._start()
        while not self._is_over():
            self._step()
        return self._finish()

    def _check_same_start(self) -> None:
        """Wait for the other workers before anything is written, and compare what they found."""
        steps = self._collective.gather(self._state.step)
        if len(set(steps)) > 1:
            raise TrainingError(
                f"the workers found different checkpoints in {self._directory} (steps {steps}, -1 for none): "
                "it must lie on storage that all of them share"
            )

    def _start(self) -> None:
        examples = self._warm_start_examples()
        key = warm_start_key(self._config, self._data, self._policy.base.content_hash)
        if examples and not load_warm_start(self._directory / WARM_START, self._policy, key):
            warm_start(
                self._policy,
                examples,
                self._data.answer_format,
                self._config.model,
                self._config.training,
                self._collective,
                lambda metrics: self._on_metrics({"step": 0, **metrics}),
            )
            self._write(lambda: save_warm_start(self._directory / WARM_START, self._policy, key))
        self._state.step = 0
        self._record({"warm_start_examples": len(examples), **self._evaluate_on_fold()})
        self._checkpoint()

    def _warm_start_examples(self) -> list[Example]:
        training = self._config.training
        if training.warm_start == "none":
            return []
        if training.warm_start == "gold":
            return gold_examples(self._data.train, self._data.answer_format)
        examples = own_examples(
            self._data.train, self._data.attempts, allow_in_process=self._config.rewards.allow_in_process
        )
        if not examples:
            self._warnings.append(
                "training.warm_start is own, but no rollout of the base resolved a training issue: started from the base"
            )
        return examples

    def _step(self) -> None:
        step, training = self._state.step + 1, self._config.training
        clock = _Clock()
        with clock("refresh"):
            self._sampler.refresh()
        chosen = [self._issues[i] for i in self._curriculum.next(training.batch_size)]
        with clock("rollouts"):
            groups = self._rollouts(chosen, training.group_size, training.temperature, _seed(training.seed, step))
        self._raise_alarm(groups)
        for issue, group in zip(chosen, groups, strict=True):
            rewards = [rollout.verdict.resolved for rollout in group if rollout.verdict.counts]
            if rewards:
                self._curriculum.record(issue.instance_id, sum(rewards) / len(rewards))
        rate = self._learning_rate(step)
        for optimizer, peak in (
            (self._optimizers.policy, training.learning_rate),
            (self._optimizers.critic, training.critic_learning_rate),
        ):
            if optimizer is not None:
                optimizer.param_groups[0]["lr"] = peak * rate
        with clock("update"):
            updated = self._updater.update(to_samples(groups), step, critic_only=step <= self._critic_warmup())
        self._state.step = step
        metrics = {**rollout_metrics(groups), **updated.means(), "learning_rate": training.learning_rate * rate}
        self._state.informative_steps += metrics["informative_groups"] > 0
        if step % training.evaluate_every == 0 or step == self._total_steps:
            with clock("evaluation"):
                metrics |= self._evaluate_on_fold()
        tokens = sum(len(rollout.sample.token_ids) for group in groups for rollout in group)
        metrics["sampled_tokens_per_second"] = tokens / max(clock.seconds["rollouts"], 1e-9)
        metrics["trained_tokens_per_second"] = metrics["trained_tokens"] / max(clock.seconds["update"], 1e-9)
        metrics |= {f"seconds_{phase}": seconds for phase, seconds in clock.seconds.items()}
        self._write(lambda: self._rollout_log.append(rollout_rows(step, groups)))
        self._record(metrics)
        if step % training.checkpoint_every == 0 or step % training.evaluate_every == 0 or self._is_over():
            self._checkpoint()

    def _critic_warmup(self) -> int:
        return self._config.training.critic_warmup_steps if self._algorithm.critic else 0

    def _rollouts(self, issues: Sequence[Issue], samples: int, temperature: float, seed: int) -> list[list[Rollout]]:
        """Collect rollouts, each worker those of its share of the issues; every worker gets all of them."""
        rank, size = self._collective.rank, self._collective.size
        mine = list(range(rank, len(issues), size))
        groups = collect(
            self._sampler,
            self._policy.tokenizer,
            self._judge,
            [issues[index] for index in mine],
            samples=samples,
            temperature=temperature,
            max_prompt_tokens=self._config.model.max_prompt_tokens,
            max_response_tokens=self._config.model.max_response_tokens,
            seeds=[seed + index for index in mine],
        )
        shares = self._collective.gather(list(zip(mine, groups, strict=True)))
        return [group for _, group in sorted((pair for share in shares for pair in share), key=lambda pair: pair[0])]

    def _evaluate_on_fold(self) -> dict[str, float]:
        """Return the pass rate on the fold, and take note of the best; nothing where the fold is empty."""
        if not self._data.fold:
            return {}
        training = self._config.training
        self._sampler.refresh()
        # The same seed every time: the same luck for every checkpoint.
        groups = self._rollouts(
            self._data.fold, training.evaluation_samples, self._config.evaluation.temperature, seed=_seed(0, 0)
        )
        counted = [rollout.verdict.resolved for group in groups for rollout in group if rollout.verdict.counts]
        score = sum(counted) / max(1, len(counted))
        self._state.evaluations_since_best += 1
        if score >= self._state.best_score:
            self._state.best_score, self._state.best_step, self._state.evaluations_since_best = (
                score,
                self._state.step,
                0,
            )
            self._write(lambda: self._save_adapter("best"))
        return {"fold_pass_rate": score}

    def _is_over(self) -> bool:
        training, state = self._config.training, self._state
        if state.step >= self._total_steps:
            return True
        if training.patience is not None and state.evaluations_since_best >= training.patience:
            return True
        return training.max_minutes is not None and self._elapsed() >= training.max_minutes * 60

    def _finish(self) -> TrainingResult:
        if not (self._directory / "best").exists():
            self._state.best_step = self._state.step
            self._write(lambda: self._save_adapter("best"))
        if self._state.step > 0 and self._state.informative_steps == 0:
            self._warnings.append(
                "nothing was learned from reinforcement: in no step did the answers to an issue earn different rewards; "
                "use easier issues, more answers an issue (training.group_size), or a warm start"
            )
        warm = self._directory / WARM_START
        return TrainingResult(
            adapter=self._directory / "best",
            warm_start_adapter=warm if warm.exists() else None,
            best_step=self._state.best_step,
            metrics=list(read_steps(self._log.path)),
            rollouts=self._rollout_log.path,
            warnings=self._warnings,
        )

    def _count_steps(self) -> int:
        training = self._config.training
        by_epochs = (
            math.ceil(training.epochs * len(self._data.train) / training.batch_size) if training.epochs else None
        )
        limits = [limit for limit in (training.max_steps, by_epochs) if limit is not None]
        # Without a limit in steps, max_minutes ends the run.
        return min(limits) if limits else 10**9

    def _learning_rate(self, step: int) -> float:
        """Return the share of the peak learning rate at a step that counts from 1."""
        training = self._config.training
        if step <= training.warmup_steps:
            return step / (training.warmup_steps + 1)
        done = (step - 1 - training.warmup_steps) / max(1, self._total_steps - training.warmup_steps)
        return {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[training.schedule]

    def _raise_alarm(self, groups: Sequence[Sequence[Rollout]]) -> None:
        verdicts = [rollout.verdict for group in groups for rollout in group]
        missing = [verdict for verdict in verdicts if not verdict.counts]
        if len(missing) > self._config.rewards.no_verdict_alarm * len(verdicts):
            raise TrainingError(
                f"{len(missing)} of {len(verdicts)} answers got no verdict, more than rewards.no_verdict_alarm allows; "
                f"the first: {missing[0].reason}"
            )

    def _usable(self, data: TrainingData) -> tuple[TrainingData, list[str]]:
        """Leave out what cannot be asked or must not be trained on."""
        warnings: list[str] = []
        kept: list[list[Issue]] = []
        for issues in (data.train, data.fold):
            usable, dropped = fitting(issues, self._policy.tokenizer, data.answer_format, self._prompt_limit())
            if not self._config.rewards.allow_in_process:
                forgeable = [issue for issue in usable if issue.is_judged_in_process]
                usable = [issue for issue in usable if issue not in forgeable]
                dropped += [
                    f"{i.instance_id} is judged in process, by tests that a candidate could forge "
                    "(rewards.allow_in_process trains on such)"
                    for i in forgeable
                ]
            kept.append(usable)
            warnings += dropped
        if not kept[0]:
            reason = f"; the first: {warnings[0]}" if warnings else ""
            raise TrainingError(f"there is no training issue to learn from{reason}")
        if warnings:
            warnings = [f"{len(warnings)} issues were left out: {warnings[0]}"]
        if not kept[1]:
            warnings.append(
                "the fold is empty: the last step's checkpoint is the result, and nothing stops training early"
            )
        return TrainingData(kept[0], kept[1], data.attempts, data.format_name), warnings

    def _prompt_limit(self) -> int:
        room = self._policy.context_length - self._config.model.max_response_tokens
        return min(self._config.model.max_prompt_tokens, room)

    def _elapsed(self) -> float:
        # Every worker must come to the same decision, so the first one's clock is everybody's.
        return self._collective.gather(time.monotonic() - self._began)[0]

    def _record(self, metrics: dict[str, float]) -> None:
        row = {"step": self._state.step, "seconds": time.monotonic() - self._began, **metrics}
        self._write(lambda: self._log.append([row]))
        self._on_metrics(row)

    def _checkpoint(self) -> None:
        self._state.seconds = time.monotonic() - self._began
        self._state.curriculum = self._curriculum.state_dict()
        keep = self._config.training.keep_checkpoints
        self._write(
            lambda: checkpoints.save(self._directory / "checkpoints", self._state, self._policy, self._optimizers, keep)
        )

    def _save_adapter(self, name: str) -> None:
        with atomic_directory(self._directory / name) as target:
            self._policy.save_adapter(target)

    def _write(self, write: Callable[[], None]) -> None:
        if self._collective.rank == 0:
            write()


def _seed(run_seed: int, step: int) -> int:
    # Room for a million issues a step and a hundred thousand steps, so that no two draws share a seed.
    return (run_seed * 100_000 + step) * 1_000_000


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - begin


def _tries(data: TrainingData) -> dict[str, list[bool]]:
    tries: dict[str, list[bool]] = {}
    for attempt in data.attempts:
        if attempt.kind == "rollout" and attempt.verdict.counts:
            tries.setdefault(attempt.instance_id, []).append(attempt.verdict.resolved)
    return tries
