"""Hyperparameters that do better than the defaults on a fold of the training split, or the defaults."""

import json

import dagster as dg

from rllm_assets.assets.display import log_progress, picture, refusing
from rllm_assets.assets.sizes import GPU_POOL, OWNERS, heavy_tags
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.data.files import write_text
from rllm_assets.data.hashing import content_hash
from rllm_assets.resources.artefacts import Artefacts, result
from rllm_assets.resources.sandbox import Sandbox
from rllm_assets.resources.settings import Settings
from rllm_assets.resources.tracking import MLflow
from rllm_assets.tracking.lineage import LineageInput


@dg.asset(
    partitions_def=benchmarks,
    deps=["train_split", "trajectories", "base_model"],
    group_name="training",
    kinds={"optuna", "pytorch"},
    owners=OWNERS,
    code_version="1",
    pool=GPU_POOL,
    op_tags=heavy_tags(),
)
def tuned_hyperparameters(
    context: dg.AssetExecutionContext, artefacts: Artefacts, settings: Settings, sandbox: Sandbox, mlflow_runs: MLflow
) -> dg.MaterializeResult:
    """Configuration keys found by Optuna: a few short trainings, measured on fold 0 of the training split.

    The winner is measured again beside the default; where it does not win, the default stays and the asset says so.
    """
    import pandas as pd

    from rllm_assets.evaluation import plots
    from rllm_assets.models.found import find_model
    from rllm_assets.training.inputs import training_data
    from rllm_assets.training.tuning import Trial, tune

    partition = context.partition_key
    benchmark = settings.benchmark(partition)
    resolved = settings.resolve(partition)
    train, tried = artefacts.existing("train_split", partition), artefacts.existing("trajectories", partition)
    data = training_data(train / "issues.parquet", tried / "trajectories.parquet", benchmark.answer_format)
    work = artefacts.work_directory("tuned_hyperparameters", partition, data.content_hash())

    with refusing(partition), mlflow_runs.run(context, "tuned_hyperparameters", resolved) as run:
        base = find_model(resolved.config.model.name)

        def on_trial(trial: Trial) -> None:
            log_progress(context, trial=trial.number, score=trial.score or 0.0, state=trial.state)
            with run.child(f"trial {trial.number}", config=dict(trial.params)) as child:
                child.log_metrics({"fold_pass_rate": trial.score or 0.0, "seconds": trial.seconds})

        tuned = tune(resolved, data, work, on_trial, allow_unsandboxed=sandbox.allow_unsandboxed)
        run.log_metrics({"trials": len(tuned.trials), "kept_default": float(tuned.kept_default)})
        mlflow_run_id = run.id

    rows = [trial.model_dump(mode="json") for trial in tuned.trials]
    with artefacts.replace(context, "tuned_hyperparameters") as draft:
        write_text(draft.directory / "tuned.json", json.dumps(tuned.overrides, indent=2, sort_keys=True) + "\n")
        write_text(draft.directory / "trials.json", json.dumps(rows, indent=2) + "\n")
        draft.describe(
            content_hash(tuned.overrides),
            inputs=[
                train,
                tried,
                LineageInput(asset="base_model", partition=partition, data_version=base.content_hash),
            ],
            config=resolved.config.model_dump(mode="json"),
            seed=resolved.config.training.seed,
            mlflow_run_id=mlflow_run_id,
        )
    # This search's own directory holds the warm start that lora_checkpoint begins with.
    artefacts.clear_work("tuned_hyperparameters", partition, keep=work)
    key = next(iter(resolved.config.tuning.space), "")
    points = [
        {key: value, "score": trial.score}
        for trial in tuned.trials
        if isinstance(value := trial.params.get(key), float) and trial.score is not None
    ]
    return result(
        "tuned_hyperparameters",
        artefacts.path("tuned_hyperparameters", partition),
        {
            "dagster/row_count": len(tuned.trials),
            "kept_default": tuned.kept_default,
            "reason": tuned.reason,
            "overrides": dg.MetadataValue.json(tuned.overrides),
            "trials": dg.MetadataValue.md(str(pd.DataFrame(rows).to_markdown(index=False)) if rows else "none"),
            "mlflow_run": mlflow_run_id or "",
            **({"scores": picture(plots.trials(points, key, "trials"), "trials")} if points else {}),
        },
    )
