"""A trial of tuning, with real training."""

from pathlib import Path

from safetensors.torch import load_file

from rllm_assets.config import RLLMConfig
from rllm_assets.models.policy import Policy
from rllm_assets.training.records import TrainingData, read_steps
from rllm_assets.training.trainer import Trainer
from rllm_assets.training.trials import Task, remeasure, run_trial, trial_config
from rllm_assets.training.warm_adapter import load_warm_start, save_warm_start, warm_start_key
from tests.training.small_runs import RaggedVerifier, attempts, small_config, small_data

ADAPTER = "adapter_model.safetensors"


def data_with_attempts() -> TrainingData:
    data = small_data(fold=3)
    return TrainingData(data.train, data.fold, attempts(data.train), data.format_name)


def task(config: RLLMConfig, directory: Path, number: int, **training: object) -> Task:
    changed = config.model_copy(update={"training": config.training.model_copy(update=training)})
    return Task(
        number,
        trial_config(changed, here=True),
        data_with_attempts(),
        directory / "trials" / str(number),
        directory / "warm_starts",
        allow_unsandboxed=True,
    )


def test_trials_share_the_warm_start_where_it_is_the_same(tiny_model: Path, tmp_path: Path) -> None:
    config = small_config(
        tiny_model,
        training={"warm_start": "own", "epochs": 3.0, "patience": 1, "max_steps": None, "learning_rate": 1e-3},
        tuning={"steps": 2},
        rewards={"terms": {"tests.training.small_runs:variety": 1.0}},
    )
    first = run_trial(task(config, tmp_path / "shared", 0))
    assert (first.pass_rate, first.seconds > 0) == (0.0, True)
    run_trial(task(config, tmp_path / "shared", 1, learning_rate=1e-2))
    run_trial(task(config, tmp_path / "alone", 1, learning_rate=1e-2))
    run_trial(task(config, tmp_path / "shared", 2, warm_start_learning_rate=1e-3))
    # Two warm starts for three trials; the trial that found one comes out as if it had made its own.
    assert len(list((tmp_path / "shared" / "warm_starts").iterdir())) == 2
    found, made, default, other = (
        load_file(tmp_path / where / "adapter" / ADAPTER)
        for where in ("shared/trials/1", "alone/trials/1", "shared/trials/0", "shared/trials/2")
    )
    assert all(found[name].equal(made[name]) for name in made)
    assert not all(found[name].equal(default[name]) for name in default)
    assert not all(other[name].equal(default[name]) for name in default)
    # Only the adapter stays.
    assert [path.name for path in (tmp_path / "shared" / "trials" / "0").iterdir()] == ["adapter"]


def test_a_trial_is_measured_again(tiny_model: Path, tmp_path: Path) -> None:
    config = small_config(tiny_model, tuning={"steps": 1})
    # An issue that is too long for the model is left out, as training leaves it out.
    one = task(config, tmp_path, 0)
    long = one.data.fold[0].model_copy(update={"problem_statement": "long " * 200})
    one = Task(**{**vars(one), "data": TrainingData(one.data.train, [*one.data.fold[1:], long])})
    run_trial(one)
    again = remeasure(one, samples=2, seed=7)
    assert again.rates == {issue.instance_id: 0.0 for issue in one.data.fold[:-1]}
    assert again.groups == {issue.instance_id: issue.group for issue in one.data.fold[:-1]}


def test_a_run_that_died_after_its_warm_start_does_not_repeat_it(tiny_model: Path, tmp_path: Path) -> None:
    config = small_config(tiny_model, training={"warm_start": "own", "max_steps": 1})
    rows: list[dict[str, float]] = []

    def train(name: str) -> bytes:
        result = Trainer(
            config, data_with_attempts(), tmp_path / name, RaggedVerifier(), lambda row: rows.append(dict(row))
        ).run()
        return (result.adapter / ADAPTER).read_bytes()

    before = train("run")
    warmed = sum("warm_start_loss" in row for row in rows)
    assert warmed > 0
    (tmp_path / "again").mkdir()
    (tmp_path / "run" / "warm_start").rename(tmp_path / "again" / "warm_start")
    assert train("again") == before
    assert sum("warm_start_loss" in row for row in rows) == warmed
    assert len(list(read_steps(tmp_path / "again" / "metrics.jsonl"))) == 2


def test_another_warm_start_is_not_taken(tiny_model: Path, tmp_path: Path) -> None:
    config = small_config(tiny_model, training={"warm_start": "own"})
    data = data_with_attempts()
    policy = Policy(config.model)
    key = warm_start_key(config, data, policy.base.content_hash)
    save_warm_start(tmp_path / "warm_start", policy, key)
    assert load_warm_start(tmp_path / "warm_start", policy, key)
    assert not load_warm_start(tmp_path / "warm_start", policy, key[::-1])
    assert not load_warm_start(tmp_path / "nowhere", policy, key)
    fewer = TrainingData(data.train, [], data.attempts[1:], data.format_name)
    assert warm_start_key(config, fewer, policy.base.content_hash) != key
    assert warm_start_key(config, TrainingData(data.train, [], data.attempts), policy.base.content_hash) == key
    longer = small_config(tiny_model, training={"warm_start": "own", "max_steps": 99, "learning_rate": 1.0})
    assert warm_start_key(longer, data, policy.base.content_hash) == key
    hotter = small_config(tiny_model, training={"warm_start": "own", "warm_start_learning_rate": 1.0})
    assert warm_start_key(hotter, data, policy.base.content_hash) != key
