"""The closed issues of a benchmark, read, checked and quarantined."""

import collections

import dagster as dg

from rllm_assets.assets.display import picture, refuse, refusing, schema_of
from rllm_assets.assets.sizes import OWNERS
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.data.sources import load_issues
from rllm_assets.data.tables import (
    ISSUE_SCHEMA,
    issues_to_table,
    rejected_to_table,
    schema_columns,
    table_hash,
    write_table,
)
from rllm_assets.evaluation import plots
from rllm_assets.resources.artefacts import Artefacts, result
from rllm_assets.resources.sandbox import Sandbox
from rllm_assets.resources.settings import Settings
from rllm_assets.tracking.lineage import LineageInput, issue_set
from rllm_assets.verification.validation import validate_issues


@dg.asset(
    partitions_def=benchmarks,
    deps=["benchmark_source"],
    group_name="issues",
    kinds={"parquet", "python"},
    owners=OWNERS,
    code_version="2",
    metadata={"dagster/column_schema": schema_of(schema_columns(ISSUE_SCHEMA))},
)
def historical_issues(
    context: dg.AssetExecutionContext, artefacts: Artefacts, settings: Settings, sandbox: Sandbox
) -> dg.MaterializeResult:
    """Closed issues: one row an issue, with its fix and what verifies a fix.

    The tests of repositories are run before and after the fix, several times: those that can be relied on decide. A row that
    cannot be read, a fix that does not resolve and a bug that nothing detects are quarantined with the reason.
    """
    benchmark = settings.benchmark(context.partition_key)
    with refusing(benchmark.id):
        issues, rejected = load_issues(benchmark)
        with sandbox.verifier(settings.resolve(benchmark.id).config.distributed) as verifier:
            issues, unverified = validate_issues(issues, verifier)
            grade = verifier.grade
    rejected += unverified
    for row in rejected:
        context.log.warning("quarantined %s", row)
    if not issues:
        raise refuse(f"{benchmark.id}: all {len(rejected)} rows are quarantined; the first: {rejected[0]}")

    table = issues_to_table(issues)
    with artefacts.replace(context, "historical_issues") as draft:
        write_table(table, draft.directory / "issues.parquet")
        write_table(rejected_to_table(rejected), draft.directory / "rejected.parquet")
        draft.describe(
            table_hash(table),
            inputs=[
                LineageInput(asset="benchmark_source", partition=benchmark.id, data_version=benchmark.content_hash())
            ],
            issues=issue_set({issue.instance_id: issue.content_hash for issue in issues}, "issues.parquet"),
        )
    labels = collections.Counter(label for issue in issues for label in issue.labels)
    reasons = dict(collections.Counter(row.category for row in rejected).most_common())
    return result(
        "historical_issues",
        artefacts.path("historical_issues", benchmark.id),
        {
            "dagster/row_count": len(issues),
            "groups": len({issue.group for issue in issues}),
            "quarantined": len(rejected),
            "quarantined_by_reason": reasons,
            "funnel": picture(
                plots.funnel(len(issues) + len(rejected), reasons, len(issues), benchmark.id), "from rows to issues"
            ),
            "quarantine": dg.MetadataValue.md("\n".join(f"- {row}" for row in rejected[:50]) or "none"),
            "labels": dict(labels.most_common()),
            "sandbox_grade": grade,
            "example": dg.MetadataValue.md(f"{issues[0].problem_statement}\n\n```diff\n{issues[0].patch}```"),
        },
    )
