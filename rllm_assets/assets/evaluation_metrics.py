"""Is the LoRA better than the untouched base on issues that nothing before has read?"""

import json
from pathlib import Path

import dagster as dg
import pandas as pd

from rllm_assets.assets.display import log_progress, picture, refuse
from rllm_assets.assets.sizes import GPU_POOL, OWNERS, heavy_tags
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.data.files import write_text
from rllm_assets.data.hashing import content_hash
from rllm_assets.data.splits import leaks
from rllm_assets.data.tables import issues_from_table, read_table
from rllm_assets.evaluation.records import PolicyName
from rllm_assets.resources.artefacts import Artefacts, result
from rllm_assets.resources.sandbox import Sandbox
from rllm_assets.resources.settings import Settings
from rllm_assets.resources.tracking import MLflow
from rllm_assets.tracking.lineage import LineageInput


@dg.asset(
    partitions_def=benchmarks,
    deps=["lora_checkpoint", "val_split", "train_split", "base_model"],
    group_name="evaluation",
    kinds={"pytorch", "mlflow"},
    owners=OWNERS,
    code_version="1",
    pool=GPU_POOL,
    op_tags=heavy_tags(),
)
def evaluation_metrics(
    context: dg.AssetExecutionContext, artefacts: Artefacts, settings: Settings, sandbox: Sandbox, mlflow_runs: MLflow
) -> dg.MaterializeResult:
    """pass@1 of base, warm start and LoRA on the held-out issues, with intervals, a paired test, and the gate's verdict.

    One row an issue and policy. All policies get the same prompts and seeds.
    """
    from rllm_assets.evaluation import plots
    from rllm_assets.evaluation.compare import EvaluationError, evaluate, gate, report
    from rllm_assets.models.found import find_model

    partition = context.partition_key
    benchmark = settings.benchmark(partition)
    resolved = settings.resolve(partition)
    config = resolved.config
    checkpoint, val, train = (
        artefacts.existing(name, partition) for name in ("lora_checkpoint", "val_split", "train_split")
    )
    held_out = issues_from_table(read_table(val / "issues.parquet"))
    adapters: dict[PolicyName, Path | None] = {"base": None, "lora": checkpoint / "adapter"}
    if (checkpoint / "warm_start").is_dir():
        adapters["warm_start"] = checkpoint / "warm_start"

    with mlflow_runs.run(context, "evaluation_metrics", resolved) as run:
        try:
            with sandbox.refusing():
                results = evaluate(
                    config,
                    held_out,
                    benchmark.answer_format,
                    adapters,
                    lambda done, total: log_progress(context, answers=done, of=total),
                    allow_unsandboxed=sandbox.allow_unsandboxed,
                )
            measured = report(partition, results, config.evaluation)
        except EvaluationError as error:
            raise refuse(f"{partition}: {error}") from None
        train_issues = issues_from_table(read_table(train / "issues.parquet"))
        decision = gate(measured, results, leaks(train_issues, held_out), config.evaluation)
        lora, difference = measured.scores["lora"], measured.lora_over_base
        run.log_metrics(
            {
                "base_pass@1": measured.scores["base"].pass_at_1,
                "lora_pass@1": lora.pass_at_1,
                "points": difference.points,
                "p_value": difference.p_value,
            },
            dataset=("val_split", artefacts.version("val_split", partition)),
        )
        mlflow_run_id = run.id

    artefact = artefacts.path("evaluation_metrics", partition)
    rows = [row.model_dump(mode="json") for row in results]
    with artefacts.replace(context, "evaluation_metrics") as draft:
        write_text(draft.directory / "report.json", measured.model_dump_json(indent=2) + "\n")
        write_text(draft.directory / "gate.json", decision.model_dump_json(indent=2) + "\n")
        pd.DataFrame(rows).to_parquet(draft.directory / "results.parquet")
        draft.describe(
            content_hash([measured.model_dump(mode="json"), decision.model_dump(mode="json"), rows]),
            inputs=[
                checkpoint,
                val,
                train,
                LineageInput(asset="base_model", data_version=find_model(config.model.name).content_hash),
            ],
            config=config.model_dump(mode="json"),
            seed=config.evaluation.seed,
            mlflow_run_id=mlflow_run_id,
        )
    table = pd.DataFrame({name: json.loads(scores.model_dump_json()) for name, scores in measured.scores.items()})
    return result(
        "evaluation_metrics",
        artefact,
        {
            "dagster/row_count": len(rows),
            "base_pass_at_1": measured.scores["base"].pass_at_1,
            "lora_pass_at_1": lora.pass_at_1,
            "points": difference.points,
            "p_value": difference.p_value,
            "gate": "passed" if decision.passed else "not passed: " + "; ".join(decision.reasons),
            "held_out_issues": measured.issues,
            "held_out_groups": measured.groups,
            "scores": dg.MetadataValue.md(str(table.to_markdown())),
            "pass_at_1": picture(plots.pass_at_1_bars(measured), "pass@1"),
            "groups": picture(plots.group_slopes(results), "groups"),
            "mlflow_run": mlflow_run_id or "",
        },
    )
