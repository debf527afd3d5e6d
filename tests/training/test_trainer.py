"""A training run: what it writes, that a killed one goes on as if nothing had happened, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rllm_assets.data.verdicts import Verdict
from rllm_assets.models.embedded import ModelError
from rllm_assets.models.policy import Policy
from rllm_assets.training import update
from rllm_assets.training.records import TrainingData, TrainingError, read_steps
from rllm_assets.training.rollout_log import nothing_learned
from rllm_assets.training.trainer import Trainer
from rllm_assets.training.update import BadLossError
from tests.training import killed
from tests.training.small_runs import FoldVerifier, RaggedVerifier, Threads, attempts, small_config, small_data, untimed


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(result):
    return (result.adapter / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("algorithm", "kills"),
    [("grpo", 2), ("ppo", 2), *(pytest.param(algorithm, 8, marks=pytest.mark.long) for algorithm in ("grpo", "ppo"))],
)
def test_a_killed_run_goes_on_bit_for_bit(tiny_model, tmp_path, one_thread, algorithm, kills):
    """By kill -9, at random moments and at random ones of its writes, and then to its end."""
    data = small_data()
    data = TrainingData(data.train, data.fold, attempts(data.train), data.format_name)
    config = killed.config(tiny_model, algorithm)
    whole = Trainer(config, data, tmp_path / "whole", RaggedVerifier()).run()
    command = [sys.executable, "-m", "tests.training.killed", tiny_model, tmp_path / "killed", algorithm, kills]
    subprocess.run(list(map(str, command)), check=True, cwd=Path(__file__).parents[2])
    runs = sorted((tmp_path / "killed").iterdir())
    assert runs
    for run in runs:
        seen = []
        # The last of them was killed too.
        resumed = Trainer(config, data, run, RaggedVerifier(), seen.append).run()
        assert weights(resumed) == weights(whole)
        assert resumed.best_step == whole.best_step
        assert [untimed(row) for row in resumed.metrics] == [untimed(row) for row in whole.metrics]
        assert list(read_steps(resumed.rollouts)) == list(read_steps(whole.rollouts))
        assert not [*run.glob("**/.*.tmp"), *run.glob("**/.*.old")]


def test_a_finished_run_is_not_trained_again(tiny_model, tmp_path):
    config = small_config(tiny_model)
    first = Trainer(config, small_data(), tmp_path, RaggedVerifier()).run()
    seen = []
    again = Trainer(config, small_data(), tmp_path, RaggedVerifier(), seen.append).run()
    assert seen == []
    assert weights(again) == weights(first)


def test_one_issue_a_step_is_enough_for_two_workers(tiny_model, tmp_path):
    config = small_config(tiny_model, training={"batch_size": 1, "max_steps": 2})
    threads = Threads(2)
    trainers = [
        Trainer(config, small_data(fold=1), tmp_path, RaggedVerifier(), collective=threads.member(rank))
        for rank in range(2)
    ]
    assert [row["step"] for row in threads.run(lambda rank: trainers[rank].run())[0].metrics] == [0, 1, 2]


def test_issues_that_are_judged_in_process_are_left_out_unless_allowed(tiny_model, tmp_path):
    data = small_data()
    task = data.train[0].task.model_copy(update={"test_code": "assert f0(1) == 1"})
    forgeable = TrainingData([data.train[0].model_copy(update={"task": task}), *data.train[1:]], data.fold)
    config = small_config(tiny_model, training={"max_steps": 1})
    result = Trainer(config, forgeable, tmp_path / "refused", RaggedVerifier()).run()
    assert result.warnings[0].startswith("1 issues were left out: issue-00 is judged in process")
    allowed = small_config(tiny_model, training={"max_steps": 1}, rewards={"allow_in_process": True})
    assert Trainer(allowed, forgeable, tmp_path / "allowed", RaggedVerifier()).run().warnings == []


def test_the_warm_start_on_own_answers_is_kept_beside_the_best(tiny_model, tmp_path):
    data = small_data()
    data = TrainingData(data.train, data.fold, attempts(data.train), data.format_name)
    config = small_config(tiny_model, training={"warm_start": "own", "warm_start_batch_size": 4})
    seen = []
    result = Trainer(config, data, tmp_path, RaggedVerifier(), seen.append).run()
    assert [row["warm_start_step"] for row in seen if "warm_start_step" in row] == [1, 2, 3, 4]
    assert result.metrics[0]["warm_start_examples"] == 14
    assert result.warm_start_adapter is not None
    assert (result.warm_start_adapter / "adapter_model.safetensors").read_bytes() != weights(result)


@pytest.mark.parametrize(("bad", "stops"), [([1, 2], False), ([1, 2, 3], True)])
def test_a_loss_of_the_warm_start_that_is_no_number_is_skipped_and_the_third_stops_the_run(
    tiny_model, tmp_path, monkeypatch, bad, stops
):
    whole, calls = Policy.logprobs, []

    def logprobs(self, packed, temperature):
        calls.append(packed)
        found, entropies = whole(self, packed, temperature)
        return (found * float("nan") if len(calls) in bad else found), entropies

    data = small_data()
    data = TrainingData(data.train, data.fold, attempts(data.train), data.format_name)
    training = {"warm_start": "own", "warm_start_batch_size": 4, "max_steps": 1}
    seen = []
    trainer = Trainer(small_config(tiny_model, training=training), data, tmp_path, RaggedVerifier(), seen.append)
    monkeypatch.setattr(Policy, "logprobs", logprobs)
    if stops:
        with pytest.raises(BadLossError, match="warm start, step 3: the loss was no number 3 times in a row"):
            trainer.run()
    else:
        result = trainer.run()
        assert all(torch.isfinite(p).all() for p in load_file(result.adapter / "adapter_model.safetensors").values())
    assert [row["warm_start_step"] for row in seen if row.get("bad_losses") == 1.0] == [1, 2]


def test_a_warm_start_without_own_answers_is_told(tiny_model, tmp_path):
    config = small_config(tiny_model, training={"warm_start": "own", "max_steps": 1})
    result = Trainer(config, small_data(), tmp_path, RaggedVerifier()).run()
    assert "no rollout of the base resolved a training issue" in result.warnings[0]


def test_prompts_and_responses_share_the_context(tiny_model, tmp_path):
    """The tiny model's is 4,096 tokens."""
    config = small_config(tiny_model, training={"max_steps": 1})

    def answering(tokens):
        return config.model_copy(update={"model": config.model.model_copy(update={"max_response_tokens": tokens})})

    with pytest.raises(TrainingError, match=r"issue-00 has \d+ prompt tokens, more than the 10 that .* context allow"):
        Trainer(answering(4086), small_data(), tmp_path, RaggedVerifier())
    told = r"max_response_tokens 4096 leaves no room for a prompt in the context of .* 4096 tokens"
    with pytest.raises(ModelError, match=told):
        Trainer(answering(4096), small_data(), tmp_path, RaggedVerifier())


class SilentVerifier(RaggedVerifier):
    """The infrastructure is down."""

    def verify_many(self, jobs):
        return [Verdict(status="no_verdict", reason="no sandbox worker answered") for _ in jobs]


def test_training_stops_where_verdicts_fail_for_infrastructure_reasons(tiny_model, tmp_path):
    config = small_config(tiny_model, rewards={"no_verdict_alarm": 0.05})
    with pytest.raises(TrainingError, match=r"20 of 20 answers got no verdict.*no sandbox worker answered"):
        Trainer(config, small_data(), tmp_path, SilentVerifier()).run()


def test_issues_whose_prompts_are_too_long_are_left_out_and_told(tiny_model, tmp_path):
    long = small_data()
    report = "again and " * 200
    train = [long.train[0].model_copy(update={"problem_statement": report}), *long.train[1:]]
    config = small_config(tiny_model, training={"max_steps": 1})
    result = Trainer(config, TrainingData(train, long.fold), tmp_path, RaggedVerifier()).run()
    assert result.warnings[0].startswith("1 issues were left out: issue-00 has ")
    with pytest.raises(TrainingError, match="no training issue to learn from; the first: issue-00 has"):
        Trainer(config, TrainingData(train[:1], []), tmp_path / "none", RaggedVerifier()).run()


def test_a_step_asks_again_until_enough_groups_are_informative(tiny_model, tmp_path):
    """Of seven issues, four earn the same whatever the answer says."""
    config = small_config(
        tiny_model,
        training={"max_steps": 1, "batch_size": 3, "sampling_rounds": 10},
        rewards={"terms": {"tests.training.test_trainer:only_odd_functions": 1.0}},
    )
    result = Trainer(config, small_data(), tmp_path, RaggedVerifier()).run()
    (step,) = [row for row in result.metrics if row["step"] == 1]
    assert step["informative_groups"] == 3
    assert 1 < step["sampling_rounds"] <= 10
    assert len({row["instance_id"] for row in read_steps(result.rollouts)}) > 3


def only_odd_functions(judged):
    return len(set(judged.response)) / 10 if int(judged.issue.instance_id[-1]) % 2 else 0.0


def test_the_batch_of_a_loss_that_is_no_number_is_kept(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(update, "importance_weights", lambda old, *_: old * float("nan"))
    config = small_config(tiny_model, training={"max_steps": 2, "stop_after_bad_losses": 1})
    with pytest.raises(BadLossError, match=r"^step 1: .* 1 times in a row; its batch is in .*bad_batch\.json$"):
        Trainer(config, small_data(), tmp_path, RaggedVerifier()).run()
    rows = json.loads((tmp_path / "bad_batch.json").read_text())
    assert rows[0].keys() == {"group", "prompt_ids", "response_ids", "given", "sampler_logprobs", "reward", "finished"}


@pytest.mark.parametrize(
    ("right", "patience", "stopped", "best"),
    [
        ([0, 3, 2, 1], 2, 3, 1),  # two evaluations without a better one
        ([0, 3, 3, 3], 2, 3, 3),  # of equals the latest, but they are no better
        ([1, 0, 2, 1, 3, 0, 0], 2, 6, 4),
        ([3, 2, 1, 0, 0, 0, 0], None, 6, 0),
    ],
)
def test_training_stops_where_the_fold_gets_no_better_and_the_best_is_kept(
    tiny_model, tmp_path, right, patience, stopped, best
):
    settings = {"max_steps": 6, "evaluate_every": 1, "patience": patience, "keep_checkpoints": 9}
    config = small_config(tiny_model, training=settings)
    result = Trainer(config, small_data(), tmp_path, FoldVerifier(right)).run()
    assert [row["fold_pass_rate"] for row in result.metrics] == [n / 6 for n in right]
    assert (len(result.metrics) - 1, result.best_step) == (stopped, best)
    checkpoint = tmp_path / "checkpoints" / f"step-{best:06d}"
    assert weights(result) == (checkpoint / "adapter_model.safetensors").read_bytes()


def test_where_all_rewards_are_equal_it_says_why_nothing_is_learned(tiny_model, tmp_path):
    for algorithm in ("grpo", "ppo"):
        training = {"max_steps": 2, "algorithm": algorithm}
        config = small_config(tiny_model, training=training, rewards={"terms": {"resolved": 1.0}})
        result = Trainer(config, small_data(), tmp_path / algorithm, FailingVerifier()).run()
        assert result.warnings[-1].startswith("nothing was learned from reinforcement: in every step all answers that")


class FailingVerifier(RaggedVerifier):
    def verify_many(self, jobs):
        return [Verdict(status="failed") for _ in jobs]


@pytest.mark.parametrize(
    ("solved", "read", "why"),
    [
        (0.0, 0.1, "only 10% of the answers could be read: begin with a warm start"),
        (0.0, 0.9, "no answer resolved its issue: use easier issues"),
        (1.0, 1.0, "every answer resolved its issue: use harder issues"),
        (0.5, 1.0, "rewards.terms cannot tell them apart"),
    ],
)
def test_why_nothing_was_learned(solved, read, why):
    rows = [{"step": 0}, *({"step": n, "pass_rate": solved, "format_rate": read} for n in (1, 2))]
    assert f"; {why}" in nothing_learned(rows)


def test_an_empty_fold_is_told_and_the_last_step_is_the_result(tiny_model, tmp_path):
    data = small_data()
    result = Trainer(small_config(tiny_model), TrainingData(data.train, []), tmp_path, RaggedVerifier()).run()
    assert result.warnings == [
        "the fold is empty: the last step's checkpoint is the result, and nothing stops training early"
    ]
    assert result.best_step == 3
    assert weights(result) == (tmp_path / "checkpoints" / "step-000003" / "adapter_model.safetensors").read_bytes()
