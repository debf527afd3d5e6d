"""The search for hyperparameters."""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rllm_assets.compute.ray_crew import RayCompute
from rllm_assets.config import RLLMConfig
from rllm_assets.training.records import TrainingData
from rllm_assets.training.trials import Score, Task
from rllm_assets.training.tuning import Trial, TuningError, TuningResult, Work, tune
from tests.compute.local_ray import ray_compute, ray_here  # noqa: F401
from tests.training import fake_trials
from tests.training.fake_trials import log_of
from tests.training.small_runs import small_config, small_data

FAKE = Work(fake_trials.run_trial, fake_trials.remeasure)
LEARNING_RATE = {"training.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}}


def config_of(model: Path, space: dict[str, Any] | None = None, trials: int = 4, **training: Any) -> RLLMConfig:
    tuning = {"trials": trials, "steps": 2, "issues": 4, "space": space or LEARNING_RATE}
    return small_config(model, training={"learning_rate": 1e-4, **training}, tuning=tuning)


def tuned(
    config: RLLMConfig, directory: Path, work: Work = FAKE, on_trial: Callable[[Trial], None] | None = None
) -> TuningResult:
    return tune(config, small_data(fold=8), directory, on_trial, work=work)


def test_no_trials_keep_the_default(tiny_model: Path, tmp_path: Path) -> None:
    result = tuned(config_of(tiny_model, trials=0), tmp_path / "tuning")
    assert result == TuningResult({}, [], True, "tuning.trials is 0")
    assert not (tmp_path / "tuning").exists()


def test_the_best_of_the_trials_wins(tiny_model: Path, tmp_path: Path) -> None:
    seen: list[Trial] = []
    result = tuned(config_of(tiny_model, trials=8), tmp_path, on_trial=seen.append)
    assert not result.kept_default
    assert result.trials == seen
    assert [trial.number for trial in seen] == list(range(8))
    assert [trial.is_default for trial in seen] == [True] + [False] * 7
    assert seen[0].params == {"training.learning_rate": 1e-4}
    assert seen[0].score == pytest.approx(1 - 0.30103, abs=1e-5)
    assert {trial.state for trial in seen} == {"finished"}
    assert {trial.seconds for trial in seen} == {1.5}
    best = max(seen, key=lambda trial: trial.score or 0)
    assert best.score is not None
    assert best.score > 0.7
    assert result.overrides == best.params
    assert result.reason.startswith(
        f"trial {best.number} scored {best.score:.1%} and the default 69.9%; measured again on 4 issues of 4 groups, "
    )
    assert result.reason.endswith("above noise at p < 0.1")
    # Every trial is short, and the two that matter are measured again with other seeds.
    log = log_of(tmp_path)
    assert {line["steps"] for line in log} == {2}
    assert [line["number"] for line in log] == [*range(8), 0, best.number]
    assert [line["what"] for line in log[8:]] == ["6 samples of seed 1235"] * 2


def test_the_search_repeats_itself(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_model, trials=7)
    first, second = tuned(config, tmp_path / "a"), tuned(config, tmp_path / "b")
    assert first == second
    assert len({str(trial.params) for trial in first.trials}) == 7
    other = tuned(config_of(tiny_model, trials=7, seed=1), tmp_path / "c")
    assert other.trials[0].params == first.trials[0].params
    assert other.trials[1].params != first.trials[1].params


def test_a_winner_by_luck_does_not_replace_the_default(tiny_model: Path, tmp_path: Path) -> None:
    work = Work(fake_trials.run_trial, fake_trials.remeasure_as_noise)
    result = tuned(config_of(tiny_model, trials=8), tmp_path, work)
    assert result.kept_default
    assert result.overrides == {}
    assert result.confirmation is not None
    assert result.confirmation.p_value > 0.1
    assert result.reason.endswith("not above noise at p < 0.1")


def test_the_default_may_be_the_best(tiny_model: Path, tmp_path: Path) -> None:
    result = tuned(config_of(tiny_model, learning_rate=fake_trials.BEST_RATE), tmp_path)
    assert (result.kept_default, result.overrides) == (True, {})
    assert result.reason == "no trial scored above the default's 100.0%"
    assert {line["what"] for line in log_of(tmp_path)} == {"trial"}


def test_failed_trials_are_survived(tiny_model: Path, tmp_path: Path) -> None:
    result = tuned(config_of(tiny_model), tmp_path, Work(fake_trials.fail_away_from_default, fake_trials.remeasure))
    assert [trial.state for trial in result.trials] == ["finished", "failed", "failed", "failed"]
    assert {trial.note for trial in result.trials[1:]} == {"ValueError: the loss was no number"}
    assert result.kept_default


def test_a_default_that_fails_is_replaced(tiny_model: Path, tmp_path: Path) -> None:
    result = tuned(config_of(tiny_model), tmp_path, Work(fake_trials.fail_at_default, fake_trials.remeasure))
    assert result.trials[0].state == "failed"
    assert not result.kept_default
    assert result.reason.startswith("the default configuration failed (ValueError: the loss was no number); trial ")
    assert set(result.overrides) == {"training.learning_rate"}


def test_when_all_fail_it_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="all 4 trials failed; the first: ValueError: no luck in trial 0"):
        tuned(config_of(tiny_model), tmp_path, Work(fake_trials.fail, fake_trials.remeasure))


def test_a_killed_search_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_model, trials=5)
    whole = tuned(config, tmp_path / "whole")
    work = Work(fake_trials.interrupt_third, fake_trials.remeasure)
    seen: list[Trial] = []
    with pytest.raises(KeyboardInterrupt):
        tuned(config, tmp_path / "killed", work, seen.append)
    assert [trial.number for trial in seen] == [0, 1]
    resumed = tuned(config, tmp_path / "killed", work, seen.append)
    # The interrupted trial is tried again under another number; nothing else is.
    assert [trial.number for trial in seen] == [0, 1, 3, 4, 5]
    rates = [line["rate"] for line in log_of(tmp_path / "killed") if line["what"] == "trial"]
    assert rates[2] == rates[3]
    assert len(set(rates)) == 5
    assert resumed.trials == seen
    assert [trial.params for trial in resumed.trials[:3]] == [trial.params for trial in whole.trials[:3]]
    # What is finished is not begun again, and more trials may be asked for.
    tuned(config, tmp_path / "killed", work, seen.append)
    assert len(seen) == 5
    more = tuned(config_of(tiny_model, trials=6), tmp_path / "killed", work, seen.append)
    assert len(more.trials) == len(seen) == 6


def test_another_configuration_is_another_search(tiny_model: Path, tmp_path: Path) -> None:
    tuned(config_of(tiny_model), tmp_path)
    seen: list[Trial] = []
    tuned(config_of(tiny_model, temperature=0.7), tmp_path, on_trial=seen.append)
    assert [trial.number for trial in seen] == [0, 1, 2, 3]


def test_the_same_configuration_is_trained_once(tiny_model: Path, tmp_path: Path) -> None:
    space = {"training.learning_rate": {"choices": [1e-4, 3e-4]}}
    result = tuned(config_of(tiny_model, space, trials=6), tmp_path)
    assert sorted(line["rate"] for line in log_of(tmp_path) if line["what"] == "trial") == [1e-4, 3e-4]
    states = [trial.state for trial in result.trials]
    assert states.count("duplicate") == 4
    trained = {str(t.params): t for t in result.trials if t.state == "finished"}
    for trial in result.trials:
        if trial.state == "duplicate":
            same = trained[str(trial.params)]
            assert (trial.score, trial.note) == (same.score, f"the same as trial {same.number}")
    assert result.overrides == {"training.learning_rate": 3e-4}


def test_values_of_a_key_without_effect_are_the_same_configuration(tiny_model: Path, tmp_path: Path) -> None:
    space = {"training.algorithm": {"choices": ["grpo"]}, "training.gae_lambda": {"low": 0.5, "high": 1.0}}
    with pytest.raises(TuningError, match=r"training.gae_lambda has no effect without a critic .*; remove it"):
        tuned(config_of(tiny_model, space), tmp_path)
    space["training.algorithm"]["choices"] = ["grpo", "ppo"]
    result = tuned(config_of(tiny_model, space, trials=8), tmp_path)
    for trial in result.trials:
        is_repetition = trial.params["training.algorithm"] == "grpo" and not trial.is_default
        assert (trial.state == "duplicate") == is_repetition
    assert result.overrides == {}


def test_a_default_outside_the_space_is_still_the_first_trial(tiny_model: Path, tmp_path: Path) -> None:
    space = {
        "training.learning_rate": {"low": 1e-4, "high": 1e-3, "log": True},
        "model.lora_rank": {"choices": [8, 16]},
    }
    result = tuned(config_of(tiny_model, space, learning_rate=1e-6, trials=6), tmp_path)
    assert result.trials[0].is_default
    assert result.trials[0].params == {"training.learning_rate": 1e-6, "model.lora_rank": 4}
    for trial in result.trials[1:]:
        assert 1e-4 <= float(trial.params["training.learning_rate"] or 0) <= 1e-3
        assert trial.params["model.lora_rank"] in (8, 16)
    assert set(result.overrides) == {"training.learning_rate", "model.lora_rank"}


def test_whole_numbers_stay_whole(tiny_model: Path, tmp_path: Path) -> None:
    space = {
        "training.group_size": {"low": 2, "high": 64, "log": True},
        "training.clip_high": {"low": 0.2, "high": 0.4},
    }
    result = tuned(config_of(tiny_model, space, trials=6, minibatches=2), tmp_path)
    assert all(isinstance(trial.params["training.group_size"], int) for trial in result.trials)
    assert result.trials[0].params == {"training.group_size": 4, "training.clip_high": None}


BAD_SPACES: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt key": (
        {"training.learning_rat": {"low": 1e-5, "high": 1e-4}},
        "unknown key training.learning_rat; did you mean training.learning_rate?",
    ),
    "a key without its part": (
        {"clip_low": {"low": 0.1, "high": 0.3}},
        "unknown key clip_low; did you mean training.clip_low?",
    ),
    "a key of another part": (
        {"splits.seed": {"choices": [1, 2]}},
        "splits.seed cannot be searched: only keys of model and training make a trial",
    ),
    "the length of a trial": (
        {"training.max_steps": {"low": 1, "high": 3}},
        "training.max_steps cannot be searched: every trial is tuning.steps long",
    ),
    "the seed": (
        {"training.seed": {"choices": [1, 2]}},
        "training.seed cannot be searched: a seed is luck, no setting",
    ),
    "a value out of range": (
        {"training.clip_low": {"low": 0.1, "high": 1.5}},
        "training.clip_low cannot be 1.5: Input should be less than 1",
    ),
    "a choice that is none": (
        {"training.schedule": {"choices": ["constant", "spiral"]}},
        "training.schedule cannot be spiral: Input should be 'constant', 'linear' or 'cosine'",
    ),
    "a range of words": ({"training.schedule": {"low": 0, "high": 1}}, "training.schedule cannot be 0"),
    "half a rank": ({"model.lora_rank": {"low": 1.5, "high": 4}}, "model.lora_rank is a whole number; 1.5 is none"),
    "orders of magnitude from zero": (
        {"training.weight_decay": {"low": 0, "high": 1, "log": True}},
        "training.weight_decay: a search by orders of magnitude needs low above 0, not 0.0",
    ),
    "a key without effect": (
        {"training.warm_start_epochs": {"choices": [1, 2]}},
        "training.warm_start_epochs has no effect while training.warm_start is none; remove it",
    ),
}


@pytest.mark.parametrize("name", BAD_SPACES)
def test_a_space_is_checked_before_anything_is_trained(tiny_model: Path, tmp_path: Path, name: str) -> None:
    space, message = BAD_SPACES[name]
    with pytest.raises(TuningError) as caught:
        tuned(config_of(tiny_model, space), tmp_path / "tuning")
    assert str(caught.value).startswith(f"tuning.space: {message}")
    assert not (tmp_path / "tuning").exists()


def test_there_must_be_a_fold(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"fold 0 of the training split, and it is empty; set tuning.trials to 0"):
        tune(config_of(tiny_model), TrainingData(small_data().train, []), tmp_path, work=FAKE)


def test_one_search_at_a_time(tiny_model: Path, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TuningError, match=r"another process is tuning in .*; wait for it"):
            tuned(config_of(tiny_model), tmp_path)


def test_a_damaged_storage(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("this is no database" * 100)
    with pytest.raises(TuningError, match=r"study.db is no storage .*not a database.*; remove it to tune anew"):
        tuned(config_of(tiny_model), tmp_path)


def test_trials_are_never_measured_beyond_the_fold(tiny_model: Path, tmp_path: Path) -> None:
    measured: list[str] = []

    def run_trial(task: Task) -> Score:
        measured.extend(issue.instance_id for issue in task.data.fold)
        return Score(0.0, 0.0)

    data = small_data(fold=8)
    tune(config_of(tiny_model, trials=2), data, tmp_path, work=Work(run_trial, fake_trials.remeasure))
    assert len(measured) == 8
    assert set(measured) < {issue.instance_id for issue in data.fold}


@pytest.mark.long
@pytest.mark.xdist_group("ray")
def test_on_ray(tiny_model: Path, tmp_path: Path, ray_compute: RayCompute) -> None:  # noqa: F811
    """Trials run side by side; one whose worker dies is run again."""
    config = config_of(tiny_model, trials=8)
    seen: list[Trial] = []
    result = tune(
        config,
        small_data(fold=8),
        tmp_path,
        seen.append,
        compute=ray_compute,
        work=Work(fake_trials.die_first, fake_trials.remeasure),
    )
    assert (tmp_path / "died").exists()
    assert sorted(trial.number for trial in seen) == list(range(8))
    assert {trial.state for trial in result.trials} == {"finished"}
    assert len([line for line in log_of(tmp_path) if line["what"] == "trial"]) == 9
    assert not result.kept_default
