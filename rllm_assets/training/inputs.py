"""Reading what a training run learns from."""

from pathlib import Path

import pyarrow.parquet as pq

from rllm_assets.data.splits import TUNING_FOLD
from rllm_assets.data.tables import attempts_from_table, issues_from_table
from rllm_assets.training.records import TrainingData


def training_data(train_split: Path, trajectories: Path | None, format_name: str) -> TrainingData:
    """Return the training issues, with the tuning fold apart, and the attempts at them.

    Attempts at other issues are left out: what is held out must not reach training.
    """
    table = pq.read_table(train_split)
    issues, folds = issues_from_table(table), table.column("fold").to_pylist()
    known = {issue.instance_id for issue in issues}
    attempts = attempts_from_table(pq.read_table(trajectories)) if trajectories else []
    return TrainingData(
        train=[issue for issue, fold in zip(issues, folds, strict=True) if fold != TUNING_FOLD],
        fold=[issue for issue, fold in zip(issues, folds, strict=True) if fold == TUNING_FOLD],
        attempts=[attempt for attempt in attempts if attempt.instance_id in known],
        format_name=format_name,
    )
