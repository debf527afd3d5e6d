"""The LoRA: reinforcement learning with verified rewards on the training issues."""

import json
import shutil
from collections.abc import Mapping

import dagster as dg

from rllm_assets.assets.display import log_progress, picture, refusing
from rllm_assets.assets.sizes import GPU_POOL, OWNERS, heavy_tags
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.data.files import write_text
from rllm_assets.data.hashing import directory_hash
from rllm_assets.resources.artefacts import Artefacts, result
from rllm_assets.resources.sandbox import Sandbox
from rllm_assets.resources.settings import Settings
from rllm_assets.resources.tracking import MLflow
from rllm_assets.tracking.lineage import LineageInput
from rllm_assets.tracking.models import register_adapter

# What a person wants to see while it trains.
_SHOWN = ("reward", "pass_rate", "fold_pass_rate", "response_tokens", "informative_groups", "warm_start_loss")


@dg.asset(
    partitions_def=benchmarks,
    deps=["train_split", "trajectories", "tuned_hyperparameters", "base_model"],
    group_name="training",
    kinds={"pytorch", "huggingface", "mlflow"},
    owners=OWNERS,
    code_version="1",
    pool=GPU_POOL,
    op_tags=heavy_tags(),
)
def lora_checkpoint(
    context: dg.AssetExecutionContext, artefacts: Artefacts, settings: Settings, sandbox: Sandbox, mlflow_runs: MLflow
) -> dg.MaterializeResult:
    """A LoRA adapter in PEFT's form, with the configuration, each key's origin, and the metrics of every step.

    A killed run goes on from its last checkpoint when the asset is materialized again.
    """
    import pandas as pd

    from rllm_assets.evaluation import plots
    from rllm_assets.models.found import find_model
    from rllm_assets.training.inputs import training_data
    from rllm_assets.training.records import read_steps, run_key
    from rllm_assets.training.run import train
    from rllm_assets.training.tuning import WARM_STARTS
    from rllm_assets.training.warm_adapter import borrow_warm_start, warm_start_key

    partition = context.partition_key
    benchmark = settings.benchmark(partition)
    paths = {
        name: artefacts.existing(name, partition) for name in ("train_split", "trajectories", "tuned_hyperparameters")
    }
    tuned = json.loads((paths["tuned_hyperparameters"] / "tuned.json").read_text(encoding="utf-8"))
    resolved = settings.resolve(partition, tuned)
    data = training_data(
        paths["train_split"] / "issues.parquet", paths["trajectories"] / "trajectories.parquet", benchmark.answer_format
    )
    with refusing(partition):
        base = find_model(resolved.config.model.name)
    work = artefacts.work_directory("lora_checkpoint", partition, run_key(resolved.config, data, base.content_hash))
    # Tuning made the same warm start, unless it found a better model or seed.
    tuning = artefacts.work_directory("tuned_hyperparameters", partition, data.content_hash())
    borrow_warm_start(tuning / WARM_STARTS, work, warm_start_key(resolved.config, data, base.content_hash))

    with refusing(partition), mlflow_runs.run(context, "lora_checkpoint", resolved) as run:

        def on_metrics(metrics: Mapping[str, float]) -> None:
            step = int(metrics["step"])
            run.log_metrics({name: value for name, value in metrics.items() if name != "step"}, step=step)
            shown = {name: round(metrics[name], 4) for name in _SHOWN if name in metrics}
            log_progress(context, step=step, of=resolved.config.training.max_steps or 0, **shown)
            if "seconds" in metrics:
                context.log.info(
                    "step %d %s", step, json.dumps({name: float(f"{metrics[name]:.6g}") for name in metrics})
                )

        trained = train(resolved.config, data, work, on_metrics, allow_unsandboxed=sandbox.allow_unsandboxed)
        for warning in trained.warnings:
            context.log.warning(warning)

        artefact = artefacts.path("lora_checkpoint", partition)
        with artefacts.replace(context, "lora_checkpoint") as draft:
            shutil.copytree(trained.adapter, draft.directory / "adapter")
            if trained.warm_start_adapter is not None:
                shutil.copytree(trained.warm_start_adapter, draft.directory / "warm_start")
            write_text(draft.directory / "config.yaml", resolved.to_yaml())
            pd.DataFrame(trained.metrics).to_parquet(draft.directory / "metrics.parquet")
            pd.DataFrame(read_steps(trained.rollouts)).to_parquet(draft.directory / "rollouts.parquet")
            version = directory_hash(draft.directory / "adapter")
            draft.describe(
                version,
                inputs=[
                    *paths.values(),
                    LineageInput(asset="base_model", partition=partition, data_version=base.content_hash),
                ],
                config=resolved.config.model_dump(mode="json"),
                seed=resolved.config.training.seed,
                mlflow_run_id=run.id,
            )
        run.log_artifact(artefact / "config.yaml")
        run.log_artifact(artefact / "lineage.json")
        run.log_dataset(
            "train_split", artefacts.version("train_split", partition), len(data.train), str(paths["train_split"])
        )
        registered = register_adapter(run, artefact / "adapter", f"rllm-{partition}", checkpoint_hash=version)
        mlflow_run_id = run.id
    for asset in ("lora_checkpoint", "tuned_hyperparameters"):
        artefacts.clear_work(asset, partition)
    steps = [row for row in trained.metrics if row["step"] > 0]
    return result(
        "lora_checkpoint",
        artefact,
        {
            "steps": len(steps),
            "best_step": trained.best_step,
            "fold_pass_rate": max(
                (row["fold_pass_rate"] for row in trained.metrics if "fold_pass_rate" in row), default=0.0
            ),
            "algorithm": resolved.config.training.algorithm,
            "warnings": dg.MetadataValue.md("\n".join(f"- {w}" for w in trained.warnings) or "none"),
            "reward_over_steps": picture(
                plots.training_curves(trained.metrics, f"{partition}: {resolved.config.training.algorithm}"),
                "reward over steps",
            ),
            "rewards": picture(plots.step_rewards(trained.metrics, f"{partition}: rewards of the steps"), "rewards"),
            "mlflow_run": mlflow_run_id or "",
            "registered": f"{registered.name} version {registered.version}" if registered else "when MLflow is back",
        },
    )
