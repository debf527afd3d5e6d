"""Issues to learn from and issues that nothing before the evaluation reads."""

import collections
from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from rllm_assets.assets.display import refusing, schema_of
from rllm_assets.assets.sizes import OWNERS
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.data.issues import Issue
from rllm_assets.data.splits import split_issues
from rllm_assets.data.tables import (
    ISSUE_SCHEMA,
    attempts_from_table,
    issues_from_table,
    issues_to_table,
    read_table,
    schema_columns,
    table_hash,
    write_table,
)
from rllm_assets.resources.artefacts import Artefacts, result
from rllm_assets.resources.settings import Settings
from rllm_assets.tracking.lineage import issue_set

_FOLD = pa.field("fold", pa.int32())


def _spec(name: str, description: str, schema: pa.Schema) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        description=description,
        deps=["historical_issues", "trajectories"],
        partitions_def=benchmarks,
        group_name="splits",
        kinds={"parquet"},
        owners=OWNERS,
        code_version="1",
        metadata={"dagster/column_schema": schema_of(schema_columns(schema))},
    )


@dg.multi_asset(
    specs=[
        _spec(
            "train_split",
            "Issues to learn from: one row an issue. Fold 0 is for tuning, stopping and the choice of a checkpoint.",
            ISSUE_SCHEMA.append(_FOLD),
        ),
        _spec("val_split", "Held-out issues: one row an issue. Only evaluation_metrics reads them.", ISSUE_SCHEMA),
    ]
)
def splits(
    context: dg.AssetExecutionContext, artefacts: Artefacts, settings: Settings
) -> Iterator[dg.MaterializeResult]:
    """Divide the issues whose fix resolves, whole groups at a time, by hash: issues added later move no others."""
    partition = context.partition_key
    config = settings.resolve(partition).config
    source, tried = artefacts.existing("historical_issues", partition), artefacts.existing("trajectories", partition)
    attempts = attempts_from_table(read_table(tried / "trajectories.parquet"))
    resolved = {attempt.instance_id for attempt in attempts if attempt.kind == "gold" and attempt.verdict.resolved}
    issues = [i for i in issues_from_table(read_table(source / "issues.parquet")) if i.instance_id in resolved]
    with refusing(partition):
        divided = split_issues(issues, config.splits)

    train = issues_to_table(divided.train).append_column(_FOLD, pa.array(divided.folds, pa.int32()))
    for name, side, table in (
        ("train_split", divided.train, train),
        ("val_split", divided.val, issues_to_table(divided.val)),
    ):
        with artefacts.replace(context, name) as draft:
            write_table(table, draft.directory / "issues.parquet")
            draft.describe(
                table_hash(table),
                inputs=[source, tried],
                issues=issue_set({issue.instance_id: issue.content_hash for issue in side}, "issues.parquet"),
                config={"splits": config.splits.model_dump(mode="json")},
                seed=config.splits.seed,
            )
        yield result(name, artefacts.path(name, partition), _metadata(side))


def _metadata(issues: list[Issue]) -> dict[str, object]:
    return {
        "dagster/row_count": len(issues),
        "groups": len({issue.group for issue in issues}),
        "labels": dict(collections.Counter(label for issue in issues for label in issue.labels).most_common()),
    }
