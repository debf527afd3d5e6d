"""What was tried on each issue: the historical fix, rollouts of the base model, and old runs of agents."""

import collections
from collections.abc import Mapping, Sequence

import dagster as dg

from rllm_assets.assets.display import log_progress, picture, refusing, schema_of
from rllm_assets.assets.sizes import GPU_POOL, OWNERS, heavy_tags
from rllm_assets.assets.tried import as_markdown, examples, pass_at, solve_rates
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.automation.sources import is_seen, observe_base_model
from rllm_assets.config import RLLMConfig
from rllm_assets.data.benchmarks import Benchmark
from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.data.splits import own_sides
from rllm_assets.data.tables import (
    TRAJECTORY_SCHEMA,
    attempts_to_table,
    issues_from_table,
    read_table,
    rejected_to_table,
    schema_columns,
    table_hash,
    write_table,
)
from rllm_assets.data.trajectories import Attempt
from rllm_assets.resources.artefacts import Artefacts, result
from rllm_assets.resources.sandbox import Sandbox
from rllm_assets.resources.settings import Settings
from rllm_assets.resources.tracking import MLflow
from rllm_assets.tracking.lineage import LineageInput, issue_set

_SHOWN = 50


@dg.asset(
    partitions_def=benchmarks,
    deps=["historical_issues", "base_model", "benchmark_source"],
    group_name="issues",
    kinds={"parquet", "pytorch", "mlflow"},
    owners=OWNERS,
    code_version="2",
    pool=GPU_POOL,
    op_tags=heavy_tags(),
    metadata={"dagster/column_schema": schema_of(schema_columns(TRAJECTORY_SCHEMA))},
)
def trajectories(
    context: dg.AssetExecutionContext, artefacts: Artefacts, settings: Settings, sandbox: Sandbox, mlflow_runs: MLflow
) -> dg.MaterializeResult:
    """Verified attempts: one row an attempt at an issue, with its answer and verdict.

    Every issue has its historical fix written as an answer (`gold`), and every issue of the training side some samples of the
    untouched base or of an endpoint (`rollout`), which tell how hard it is and give the warm start something of the model's own
    to learn from. Old runs of agents at issues of the training side (`historical`) are judged anew where that can be done; what
    could not be read or has no issue here is in rejected.parquet.
    """
    from rllm_assets.rollouts.first_attempts import sample_base

    benchmark = settings.benchmark(context.partition_key)
    resolved = settings.resolve(context.partition_key)
    source = artefacts.existing("historical_issues", benchmark.id)
    issue_table = read_table(source / "issues.parquet")
    issues = issues_from_table(issue_table)
    sides = own_sides(issue_table, resolved.config.splits)
    # What will be held out is read by nobody before it is evaluated on.
    held_out = {issue.instance_id for issue, side in zip(issues, sides, strict=True) if side != "train"}
    with refusing(benchmark.id), mlflow_runs.run(context, "trajectories", resolved) as run:
        sampled, model_hash = sample_base(
            resolved.config,
            issues,
            benchmark.answer_format,
            lambda done, total: log_progress(context, issues=done, of=total),
            gold_only=held_out,
            allow_unsandboxed=sandbox.allow_unsandboxed,
        )
        old, left_out = _old_runs(context, sandbox, resolved.config, benchmark, issues, held_out)
        # A sensor does not download a model to look at it; by now it is here.
        model = observe_base_model(benchmark.id, resolved.config.model.name)
        if not is_seen(context.instance, model):
            context.log_event(model)
            # Dagster looked at the inputs when the step began; without another look this asset would be stale at once.
            context.get_step_execution_context().fetch_external_input_asset_version_info()
        attempts = sampled + [attempt for issue in issues for attempt in old.get(issue.instance_id, ())]
        tries = solve_rates(attempts)
        passed = pass_at(tries)
        run.log_metrics(
            {
                "issues": len(issues),
                "rollouts": sum(attempt.kind == "rollout" for attempt in attempts),
                **{f"base_pass@{k}": rate for k, rate in passed.items()},
            },
            dataset=("historical_issues", artefacts.version("historical_issues", benchmark.id)),
        )
        mlflow_run_id = run.id

    table = attempts_to_table(attempts)
    inputs = [source, LineageInput(asset="base_model", partition=benchmark.id, data_version=model_hash)]
    if benchmark.runs is not None:
        version = benchmark.content_hash()
        inputs.append(LineageInput(asset="benchmark_source", partition=benchmark.id, data_version=version))
    with artefacts.replace(context, "trajectories") as draft:
        write_table(table, draft.directory / "trajectories.parquet")
        write_table(rejected_to_table(left_out), draft.directory / "rejected.parquet")
        draft.describe(
            table_hash(table),
            inputs=inputs,
            issues=issue_set({issue.instance_id: issue.content_hash for issue in issues}),
            config=resolved.config.model_dump(mode="json"),
            seed=resolved.config.training.seed,
            mlflow_run_id=mlflow_run_id,
        )
    return result(
        "trajectories",
        artefacts.path("trajectories", benchmark.id),
        {
            "dagster/row_count": len(attempts),
            **_counts(attempts, tries, passed),
            **({"runs_left_out": len(left_out), **_told(left_out)} if benchmark.runs is not None else {}),
            **_pictures(attempts, tries),
            "mlflow_run": mlflow_run_id or "",
            "examples": dg.MetadataValue.md("\n\n---\n\n".join(map(as_markdown, examples(attempts)))),
        },
    )


def _old_runs(
    context: dg.AssetExecutionContext,
    sandbox: Sandbox,
    config: RLLMConfig,
    benchmark: Benchmark,
    issues: Sequence[Issue],
    held_out: set[str],
) -> tuple[Mapping[str, Sequence[Attempt]], list[Rejected]]:
    """Import the benchmark's old runs, and log those that are no attempts here."""
    if benchmark.runs is None:
        return {}, []
    from rllm_assets.models.found import find_model
    from rllm_assets.models.loading import load_tokenizer
    from rllm_assets.rollouts.historical import historical_attempts

    tokenizer = load_tokenizer(find_model(config.model.name))
    with sandbox.verifier(config.distributed) as verifier:
        old = historical_attempts(
            benchmark,
            issues,
            verifier,
            held_out=held_out,
            count_tokens=lambda text: len(tokenizer.encode(text, add_special_tokens=False)),
            progress=lambda count: log_progress(context, old_runs=count),
        )
    for row in old.left_out[:_SHOWN]:
        context.log.warning("left out %s", row)
    if not old.attempts:
        context.log.warning("no run of %s is an attempt at a training issue", benchmark.runs_path)
    return old.attempts, old.left_out


def _counts(
    attempts: Sequence[Attempt], tries: Mapping[str, Sequence[bool]], passed: Mapping[int, float]
) -> dict[str, object]:
    kinds = {
        kind: [attempt for attempt in attempts if attempt.kind == kind] for kind in ("gold", "rollout", "historical")
    }
    present = {kind: found for kind, found in kinds.items() if found}
    return {
        "rollouts": len(kinds["rollout"]),
        "base_pass_at_1": passed.get(1, 0.0),
        "base_pass_at_k": {f"pass@{k}": round(rate, 4) for k, rate in passed.items()},
        "always_solved": sum(all(tried) for tried in tries.values()),
        "never_solved": sum(not any(tried) for tried in tries.values()),
        "attempts": {kind: len(found) for kind, found in present.items()},
        "verdicts": {
            kind: dict(collections.Counter(attempt.verdict.status for attempt in found))
            for kind, found in present.items()
        },
        "verdict_sources": dict(collections.Counter(attempt.verdict_source for attempt in attempts)),
        "response_tokens": {kind: sum(each.response_tokens for each in found) for kind, found in present.items()},
    }


def _told(left_out: Sequence[Rejected]) -> dict[str, object]:
    reasons = collections.Counter(row.category for row in left_out)
    return {
        "runs_left_out_by_reason": dict(reasons.most_common()),
        "left_out": dg.MetadataValue.md("\n".join(f"- {row}" for row in left_out[:_SHOWN]) or "none"),
    }


def _pictures(attempts: Sequence[Attempt], tries: Mapping[str, Sequence[bool]]) -> dict[str, object]:
    from rllm_assets.evaluation import plots

    rates = [sum(tried) / len(tried) for tried in tries.values()]
    rewards = [each.reward for each in attempts if each.kind == "rollout" and each.reward is not None]
    drawn = {
        "solve_rates": (rates, "the base on each issue", "solve rate", "issues"),
        "rewards": (rewards, "the base's rollouts", "reward", "rollouts"),
    }
    return {
        name: picture(plots.histogram(values, title, across, up), name.replace("_", " "))
        for name, (values, title, across, up) in drawn.items()
    }
