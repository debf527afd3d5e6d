"""What a training step tells is in the table beside the checkpoint, in MLflow and in Dagster's log."""

import json

import pandas as pd
import pytest

from rllm_assets.tracking.names import metric_name
from tests.tiny_benchmark import NO_TUNING

TOLD = {
    # rewards and their terms
    "reward", "reward_tests.training.small_runs:variety", "pass_rate", "format_rate", "no_verdict_rate", "informative_groups",
    # lengths
    "response_tokens", "truncated_rate", "trained_tokens",
    # the policy
    "kl_reference", "kl_sampler", "importance_weight", "entropy", "clip_fraction", "loss", "grad_norm", "learning_rate",
    "bad_losses",
    # the critic
    "explained_variance", "value_loss", "critic_grad_norm",
    # time
    "seconds", "seconds_refresh", "seconds_rollouts", "seconds_reference", "seconds_update", "seconds_evaluation",
    "sampled_tokens_per_second", "trained_tokens_per_second",
    # what is chosen by
    "fold_pass_rate",
}  # fmt: skip


@pytest.mark.slow
def test_every_number_is_in_the_table_in_mlflow_and_in_the_log(make_graph):
    from mlflow.tracking import MlflowClient

    graph = make_graph(
        training={"algorithm": "ppo", "minibatches": 2, "max_steps": 2},
        rewards={"terms": {"tests.training.small_runs:variety": 1.0}},
        tuning=NO_TUNING,
    )
    run = graph.materialize(
        "historical_issues", "trajectories", "train_split", "val_split", "test_split", "tuned_hyperparameters",
        "lora_checkpoint",
    )  # fmt: skip
    rows = pd.read_parquet(graph.artefacts.path("lora_checkpoint", "tiny") / "metrics.parquet")
    steps = rows[rows["step"] > 0]
    assert steps["step"].tolist() == [1, 2]
    assert set(steps.columns) >= TOLD
    assert steps[sorted(TOLD)].notna().all().all()

    marker = "step 2 {"
    (line,) = [
        entry.user_message for entry in graph.instance.all_logs(run.run_id) if entry.user_message.startswith(marker)
    ]
    logged = json.loads(line[len(marker) - 1 :])
    assert set(logged) >= TOLD
    for name in TOLD:
        assert logged[name] == pytest.approx(float(steps[name].iloc[1]), rel=1e-5, abs=1e-9)

    client = MlflowClient(f"sqlite:///{graph.root / 'mlflow.db'}")
    tracked = client.get_run(graph.materialization("lora_checkpoint").metadata["mlflow_run"].value)
    for name in TOLD:
        history = client.get_metric_history(tracked.info.run_id, metric_name(name))
        values = {point.step: point.value for point in history}
        assert values[2] == pytest.approx(float(steps[name].iloc[1])), name
