"""The closed issues of a benchmark, read, checked and quarantined."""

import collections
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from rllm_assets.assets.display import picture, refuse, refusing, schema_of
from rllm_assets.assets.sizes import OWNERS
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.data.ingest import ISSUES, NEAR_DUPLICATES, REJECTED, Ingested, ingest
from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.data.tables import (
    ISSUE_SCHEMA,
    REJECTED_SCHEMA,
    TableDigest,
    issues_in_order,
    issues_to_table,
    rejected_to_table,
    schema_columns,
    table_writer,
)
from rllm_assets.evaluation import plots
from rllm_assets.resources.artefacts import Artefacts, result
from rllm_assets.resources.sandbox import Sandbox
from rllm_assets.resources.settings import Settings
from rllm_assets.tracking.lineage import LineageInput, issue_set
from rllm_assets.verification.environments import environment_of
from rllm_assets.verification.validation import Judging, validate_issues

_SHOWN = 50


@dg.asset(
    partitions_def=benchmarks,
    deps=["benchmark_source"],
    group_name="issues",
    kinds={"parquet", "python"},
    owners=OWNERS,
    code_version="4",
    metadata={"dagster/column_schema": schema_of(schema_columns(ISSUE_SCHEMA))},
)
def historical_issues(
    context: dg.AssetExecutionContext, artefacts: Artefacts, settings: Settings, sandbox: Sandbox
) -> dg.MaterializeResult:
    """Closed issues: one row an issue, with its fix and what verifies a fix.

    The tests of repositories are run before and after the fix, several times: those that can be relied on decide. A row that
    cannot be read or comes twice, a fix that does not resolve and a bug that nothing detects are quarantined with the reason.
    """
    benchmark = settings.benchmark(context.partition_key)
    version = benchmark.content_hash()
    work = artefacts.work_directory("historical_issues", benchmark.id, version)
    with artefacts.replace(context, "historical_issues") as draft:
        with refusing(benchmark.id):
            read = ingest(benchmark, work)
            with sandbox.verifier(settings.resolve(benchmark.id).config.distributed) as verifier:
                verified = _verify(read, draft.directory, verifier)
                grade = verifier.grade
        for row in verified.rejected:
            context.log.warning("quarantined %s", row)
        quarantined = verified.reasons.total()
        if quarantined > len(verified.rejected):
            context.log.warning("%d more are quarantined, see %s", quarantined - len(verified.rejected), REJECTED)
        if verified.example is None:
            raise refuse(f"{benchmark.id}: all {quarantined} rows are quarantined; the first: {verified.rejected[0]}")
        draft.describe(
            verified.digest.hexdigest(),
            inputs=[LineageInput(asset="benchmark_source", partition=benchmark.id, data_version=version)],
            issues=issue_set(verified.content_hashes, ISSUES),
        )
    artefacts.clear_work("historical_issues", benchmark.id)
    kept = len(verified.content_hashes)
    reasons = dict(verified.reasons.most_common())
    return result(
        "historical_issues",
        artefacts.path("historical_issues", benchmark.id),
        {
            "dagster/row_count": kept,
            "groups": len(verified.groups),
            "quarantined": quarantined,
            "quarantined_by_reason": reasons,
            "funnel": picture(plots.funnel(kept + quarantined, reasons, kept, benchmark.id), "from rows to issues"),
            "quarantine": dg.MetadataValue.md("\n".join(f"- {row}" for row in verified.rejected) or "none"),
            "near_duplicates": read.clustered,
            "near_duplicate_clusters": read.clusters,
            "labels": dict(verified.labels.most_common()),
            "sandbox_grade": grade,
            "environments": len(verified.environments),
            "environments_mb": round(sum(verified.environments.values()) / 2**20, 1),
            "example": dg.MetadataValue.md(
                f"{verified.example.problem_statement}\n\n```diff\n{verified.example.patch}```"
            ),
        },
    )


@dataclass
class _Verified:
    """What is known of the issues that were kept, and of the rows that were not, the first of which are `rejected`.

    `environments` are those that their tests run in, with their sizes in bytes.
    """

    digest: TableDigest = field(default_factory=lambda: TableDigest(ISSUE_SCHEMA))
    content_hashes: dict[str, str] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    labels: collections.Counter[str] = field(default_factory=collections.Counter)
    environments: dict[str, int] = field(default_factory=dict)
    example: Issue | None = None
    reasons: collections.Counter[str] = field(default_factory=collections.Counter)
    rejected: list[Rejected] = field(default_factory=list)


def _verify(read: Ingested, directory: Path, verifier: Judging) -> _Verified:
    """Verify the issues that were read, in order and some at a time, and write what is kept and what is not."""
    found = _Verified(reasons=collections.Counter(read.reasons), rejected=list(read.rejected))
    with (
        table_writer(directory / ISSUES, ISSUE_SCHEMA) as kept,
        table_writer(directory / REJECTED, REJECTED_SCHEMA) as quarantined,
    ):
        quarantined.copy(read.directory / REJECTED)
        for batch in issues_in_order(read.directory / ISSUES):
            issues, rejected = validate_issues(batch, verifier)
            table = issues_to_table(issues)
            kept.write(table)
            quarantined.write(rejected_to_table(rejected))
            found.digest.update(table)
            found.content_hashes |= {issue.instance_id: issue.content_hash for issue in issues}
            found.groups |= {issue.group for issue in issues}
            found.environments |= {made.key: made.bytes for issue in issues if (made := environment_of(issue))}
            found.labels.update(label for issue in issues for label in issue.labels)
            found.reasons.update(row.category for row in rejected)
            found.rejected += rejected[: max(0, _SHOWN - len(found.rejected))]
            found.example = found.example or next(iter(issues), None)
    shutil.copy(read.directory / NEAR_DUPLICATES, directory)
    return found
