"""The trainer: sample, verify, reward, update; checkpointed, resumable, stopped by a fold of the training split."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rllm_assets.config import RLLMConfig
from rllm_assets.data.files import remove_strays
from rllm_assets.models.policy import Policy
from rllm_assets.models.samplers import open_sampler
from rllm_assets.rewards import Scorer
from rllm_assets.rollouts import Judge
from rllm_assets.rollouts.collect import Verifier
from rllm_assets.training import checkpoints
from rllm_assets.training.advantages import GROUP_ADVANTAGES
from rllm_assets.training.algorithms import algorithm_of
from rllm_assets.training.batches import TrainingSample, save_batch, to_samples
from rllm_assets.training.best import best_path, drop_others, note_score, save_best
from rllm_assets.training.checkpoints import RunState
from rllm_assets.training.collective import Alone, Collective
from rllm_assets.training.curriculum import Curriculum
from rllm_assets.training.divergence import kl_to_base
from rllm_assets.training.phases import Phases
from rllm_assets.training.records import (
    Metrics,
    StepLog,
    TrainingData,
    TrainingError,
    TrainingResult,
    read_steps,
    run_identity,
    telling_full_disk,
)
from rllm_assets.training.rollout_log import nothing_learned, rollout_metrics, rollout_rows
from rllm_assets.training.rounds import Group, Source, is_informative, sample_rounds
from rllm_assets.training.schedules import learning_rate, planned_steps, response_limit
from rllm_assets.training.update import BadLossError, Optimizers, UpdateMetrics, Updater
from rllm_assets.training.usable import solved_before, usable
from rllm_assets.training.warm_adapter import WARM_START, load_warm_start, save_warm_start, warm_start_key
from rllm_assets.training.warm_start import Example, gold_examples, own_examples, warm_start

OnMetrics = Callable[[Metrics], None]


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
        self._data, self._warnings = usable(
            data,
            self._policy.tokenizer,
            max_prompt_tokens=self._policy.prompt_limit,
            allow_in_process=config.rewards.allow_in_process,
        )
        self._judge = Judge(self._data.answer_format, verifier, Scorer(config.rewards, for_training=True), config.agent)
        self._total_steps = planned_steps(config.training, len(self._data.train))
        self._issues = {issue.instance_id: issue for issue in self._data.train}
        self._curriculum = Curriculum(
            list(self._issues), config.training.curriculum, config.training.seed, solved_before(self._data)
        )
        self._updater = Updater(
            self._policy,
            self._algorithm,
            config.training,
            self._optimizers,
            self._collective,
        )
        self._source = Source(
            open_sampler(self._policy),
            self._policy.tokenizer,
            self._judge,
            self._collective,
            self._policy.prompt_limit,
        )
        identity = run_identity(config, self._data, self._policy.base.content_hash)
        resumed = checkpoints.resume(directory / "checkpoints", identity, self._policy, self._optimizers)
        self._state = resumed or RunState(identity, step=-1)
        if resumed is not None:
            self._curriculum.load_state_dict(resumed.curriculum)
            self._updater.bad_losses_in_a_row = resumed.bad_losses_in_a_row
        self._log = StepLog(directory / "metrics.jsonl")
        self._rollout_log = StepLog(directory / "rollouts.jsonl")

    def run(self) -> TrainingResult:
        """Train to the end, from the beginning or from where a killed run stood.

        Raises:
            TrainingError: where verdicts fail for infrastructure reasons beyond `rewards.no_verdict_alarm`.
            BadLossError: after several losses in a row that are no number.
        """
        self._began = time.monotonic() - self._state.seconds
        self._check_same_start()
        self._write(self._go_back)
        if self._state.step < 0:
            self._start()
        while not self._is_over():
            self._step()
        return self._finish()

    def _go_back(self) -> None:
        """Leave of what a killed run wrote what belongs to its checkpoint."""
        for directory in (self._directory, self._directory / "checkpoints"):
            remove_strays(directory)
        for log in (self._log, self._rollout_log):
            log.cut(self._state.step)

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
        clock = Phases()
        with clock("refresh"):
            self._source.sampler.refresh()
        limit = response_limit(self._config, step)
        with clock("rollouts"):
            sampled = sample_rounds(
                lambda wanted, offset: self._ask(wanted, _seed(training.seed, step) + offset, limit),
                training.batch_size,
                training.sampling_rounds,
                drop_uniform=training.uniform_groups == "drop",
            )
        groups = sampled.groups
        rate = learning_rate(training, step, self._total_steps)
        for optimizer, peak in (
            (self._optimizers.policy, training.learning_rate),
            (self._optimizers.critic, training.critic_learning_rate),
        ):
            if optimizer is not None:
                optimizer.param_groups[0]["lr"] = peak * rate
        samples = to_samples(sampled.kept, training.compact_filtering)
        with clock("reference"):
            divergence = self._kl_to_base(samples)
        with clock("update"):
            updated = self._update(samples, step, limit)
        self._state.step = step
        metrics = {**rollout_metrics(groups), **updated.means(), "learning_rate": training.learning_rate * rate}
        if divergence is not None:
            metrics["kl_reference"] = divergence
        metrics["sampling_rounds"] = sampled.rounds
        self._state.informative_steps += self._teaches(groups)
        if step % training.evaluate_every == 0 or step == self._total_steps:
            with clock("evaluation"):
                metrics |= self._evaluate_on_fold()
        tokens = sum(rollout.sample.length for group in groups for rollout in group)
        metrics |= clock.metrics(tokens, metrics["trained_tokens"])
        self._write(lambda: self._rollout_log.append(rollout_rows(step, groups)))
        self._record(metrics)
        if step % training.checkpoint_every == 0 or step % training.evaluate_every == 0 or self._is_over():
            self._checkpoint()

    def _ask(self, wanted: int, seed: int, limit: int) -> list[Group]:
        """Return the answers to the issues that come next."""
        training = self._config.training
        issues = [self._issues[i] for i in self._curriculum.next(wanted)]
        groups = self._source.collect(
            issues,
            samples=training.group_size,
            temperature=training.temperature,
            max_response_tokens=limit,
            seed=seed,
        )
        self._raise_alarm(groups)
        for issue, group in zip(issues, groups, strict=True):
            resolved = [rollout.verdict.resolved for rollout in group if rollout.verdict.counts]
            if resolved:
                self._curriculum.record(issue.instance_id, sum(resolved) / len(resolved))
        return groups

    def _kl_to_base(self, samples: list[TrainingSample]) -> float | None:
        training = self._config.training
        return kl_to_base(self._policy, samples, training.temperature, training.micro_batch_tokens, self._collective)

    def _update(self, samples: list[TrainingSample], step: int, limit: int) -> UpdateMetrics:
        warming = self._algorithm.critic and step <= self._config.training.critic_warmup_steps
        try:
            return self._updater.update(samples, step, limit, critic_only=warming)
        except BadLossError as error:
            path = self._directory / "bad_batch.json"
            self._write(lambda: save_batch(path, samples))
            raise BadLossError(f"step {step}: {error}; its batch is in {path}") from None

    def _teaches(self, groups: Sequence[Group]) -> bool:
        """Whether some answer was better than one that it is compared with: in its group, or in the whole batch."""
        if self._algorithm.advantage in GROUP_ADVANTAGES:
            return any(map(is_informative, groups))
        return is_informative([rollout for group in groups for rollout in group])

    def _evaluate_on_fold(self) -> dict[str, float]:
        """Return the pass rate on the fold, and take note of the best; nothing where the fold is empty."""
        if not self._data.fold:
            return {}
        self._source.sampler.refresh()
        # The same seed every time: the same luck for every checkpoint.
        groups = self._source.collect(
            self._data.fold,
            samples=self._config.training.evaluation_samples,
            temperature=self._config.evaluation.temperature,
            max_response_tokens=response_limit(self._config, self._state.step),
            seed=_seed(0, 0),
        )
        counted = [rollout.verdict.resolved for group in groups for rollout in group if rollout.verdict.counts]
        score = sum(counted) / max(1, len(counted))
        if note_score(self._state, score):
            self._save_best()
        return {"fold_pass_rate": score}

    def _is_over(self) -> bool:
        training, state = self._config.training, self._state
        if state.step >= self._total_steps:
            return True
        if training.patience is not None and state.evaluations_since_best >= training.patience:
            return True
        return training.max_minutes is not None and self._elapsed() >= training.max_minutes * 60

    def _finish(self) -> TrainingResult:
        if self._state.best_step < 0:
            self._state.best_step = self._state.step
            self._save_best()
        metrics = list(read_steps(self._log.path))
        if self._state.step > 0 and self._state.informative_steps == 0:
            self._warnings.append(nothing_learned(metrics))
        warm = self._directory / WARM_START
        return TrainingResult(
            adapter=best_path(self._directory, self._state.best_step),
            warm_start_adapter=warm if warm.exists() else None,
            best_step=self._state.best_step,
            metrics=metrics,
            rollouts=self._rollout_log.path,
            warnings=self._warnings,
        )

    def _raise_alarm(self, groups: Sequence[Group]) -> None:
        verdicts = [rollout.verdict for group in groups for rollout in group]
        missing = [verdict for verdict in verdicts if not verdict.counts]
        if len(missing) > self._config.rewards.no_verdict_alarm * len(verdicts):
            raise TrainingError(
                f"{len(missing)} of {len(verdicts)} answers got no verdict, more than rewards.no_verdict_alarm allows; "
                f"the first: {missing[0].reason}"
            )

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
        self._state.bad_losses_in_a_row = self._updater.bad_losses_in_a_row
        keep = self._config.training.keep_checkpoints
        self._write(lambda: self._save_checkpoint(keep))

    def _save_checkpoint(self, keep: int) -> None:
        directory = self._directory / "checkpoints"
        checkpoints.save(directory, self._state, self._policy, self._optimizers, keep)
        drop_others(self._directory, checkpoints.best_steps(directory))

    def _save_best(self) -> None:
        self._write(lambda: save_best(self._directory, self._state.best_step, self._policy))

    def _write(self, write: Callable[[], None]) -> None:
        if self._collective.rank == 0:
            with telling_full_disk(self._directory):
                write()


def _seed(run_seed: int, step: int) -> int:
    # Room for a million issues a step and a hundred thousand steps, so that no two draws share a seed.
    return (run_seed * 100_000 + step) * 1_000_000
