"""Is the LoRA better than the untouched base on issues that nothing before has read?"""

import json
from pathlib import Path

import dagster as dg
import pyarrow as pa

from rllm_assets.assets.display import log_progress, picture, refusing, schema_of
from rllm_assets.assets.divided import read_divided
from rllm_assets.assets.sizes import GPU_POOL, OWNERS, heavy_tags
from rllm_assets.assets.trained import as_trained
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.data.answers import answer_format
from rllm_assets.data.files import write_text
from rllm_assets.data.hashing import content_hash
from rllm_assets.data.leaks import all_leaks
from rllm_assets.data.tables import issues_from_table, read_table, schema_columns, write_table
from rllm_assets.evaluation.records import IssueResult, PolicyName
from rllm_assets.resources.artefacts import Artefacts, result
from rllm_assets.resources.sandbox import Sandbox
from rllm_assets.resources.settings import Settings
from rllm_assets.resources.tracking import MLflow
from rllm_assets.tracking.lineage import LineageInput

RESULT_SCHEMA = pa.schema(
    [
        pa.field("policy", pa.string(), nullable=False),
        pa.field("instance_id", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("labels", pa.list_(pa.string()), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("resolved", pa.int64(), nullable=False),
        pa.field("format_valid", pa.int64(), nullable=False),
        pa.field("no_verdict", pa.int64(), nullable=False),
        pa.field("in_process", pa.bool_(), nullable=False),
        pa.field("sandbox_grade", pa.string(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("greedy_resolved", pa.bool_()),
        pa.field("answer", pa.string(), nullable=False),
    ]
)
"""The table of results: `IssueResult`, one row an issue and policy."""

_DESCRIPTIONS = {name: field.description or "" for name, field in IssueResult.model_fields.items()}


@dg.asset(
    partitions_def=benchmarks,
    deps=["lora_checkpoint", "val_split", "train_split", "trajectories", "base_model"],
    group_name="evaluation",
    kinds={"pytorch", "mlflow"},
    owners=OWNERS,
    code_version="3",
    pool=GPU_POOL,
    op_tags=heavy_tags(),
    metadata={"dagster/column_schema": schema_of(schema_columns(RESULT_SCHEMA), _DESCRIPTIONS)},
)
def evaluation_metrics(
    context: dg.AssetExecutionContext, artefacts: Artefacts, settings: Settings, sandbox: Sandbox, mlflow_runs: MLflow
) -> dg.MaterializeResult:
    """pass@1 of base, warm start and LoRA on the held-out issues, with intervals, a paired test, and the gate's verdict.

    One row an issue and policy. All policies get the same prompts and seeds.
    """
    import pandas as pd

    from rllm_assets.evaluation import plots
    from rllm_assets.evaluation.compare import evaluate, gate, report, telling_issue
    from rllm_assets.models.found import find_model

    partition = context.partition_key
    benchmark = settings.benchmark(partition)
    checkpoint, val, train, tried = (
        artefacts.existing(name, partition) for name in ("lora_checkpoint", "val_split", "train_split", "trajectories")
    )
    with refusing(partition):
        resolved = as_trained(settings.resolve(partition), checkpoint)
        config = resolved.config
        base = find_model(config.model.name)
    held_out = issues_from_table(read_table(val / "issues.parquet"))
    adapters: dict[PolicyName, Path | None] = {"base": None, "lora": checkpoint / "adapter"}
    if (checkpoint / "warm_start").is_dir():
        adapters["warm_start"] = checkpoint / "warm_start"

    with refusing(partition), mlflow_runs.run(context, "evaluation_metrics", resolved) as run:
        results = evaluate(
            config,
            held_out,
            benchmark.answer_format,
            adapters,
            lambda done, total: log_progress(context, answers=done, of=total),
            allow_unsandboxed=sandbox.allow_unsandboxed,
        )
        measured = report(partition, results, config.evaluation)
        leaks = all_leaks(read_divided(artefacts, settings, partition))
        decision = gate(measured, results, leaks, config.evaluation)
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
    telling = telling_issue(results)
    answers = {row.policy: row.answer for row in results if row.instance_id == telling}
    issue = next(issue for issue in held_out if issue.instance_id == telling)
    prompt = answer_format(benchmark.answer_format).prompt(issue)
    rows = [row.model_dump(mode="json") for row in results]
    with artefacts.replace(context, "evaluation_metrics") as draft:
        write_text(draft.directory / "report.json", measured.model_dump_json(indent=2) + "\n")
        write_text(draft.directory / "gate.json", decision.model_dump_json(indent=2) + "\n")
        example = {"instance_id": telling, "messages": prompt, "answers": answers}
        write_text(draft.directory / "example.json", json.dumps(example, indent=2) + "\n")
        write_table(pa.Table.from_pylist(rows, schema=RESULT_SCHEMA), draft.directory / "results.parquet")
        draft.describe(
            content_hash([measured.model_dump(mode="json"), decision.model_dump(mode="json"), rows]),
            inputs=[
                checkpoint,
                val,
                train,
                tried,
                LineageInput(asset="base_model", partition=partition, data_version=base.content_hash),
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
            "example": dg.MetadataValue.md(
                f"{issue.problem_statement}\n\n**base**\n\n{answers['base']}\n\n**LoRA**\n\n{answers['lora']}"
            ),
            "mlflow_run": mlflow_run_id or "",
        },
    )
