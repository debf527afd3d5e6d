"""How assets show themselves: schemas, pictures, progress and refusals."""

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from rllm_assets.compute.loaded import loaded_errors

# By module, so that an asset that trains nothing does not import torch for the names of errors.
LIBRARY_ERRORS: Mapping[str, Sequence[str]] = {
    "rllm_assets.compute.processes": ("ProcessError",),
    "rllm_assets.compute.records": ("ComputeError",),
    "rllm_assets.config.resolve": ("ConfigError",),
    "rllm_assets.data.answers": ("AnswerFormatError",),
    "rllm_assets.data.benchmarks": ("BenchmarkError",),
    "rllm_assets.data.splits": ("SplitError",),
    "rllm_assets.evaluation.records": ("EvaluationError",),
    "rllm_assets.models.embedded": ("ModelError",),
    "rllm_assets.rewards.quality": ("RuffError",),
    "rllm_assets.rewards.score": ("ScoreError",),
    "rllm_assets.rollouts.collect": ("PromptTooLongError",),
    "rllm_assets.rollouts.endpoint": ("EndpointError",),
    "rllm_assets.sandbox.jobs": ("SandboxError", "SandboxUnavailableError"),
    "rllm_assets.serving.records": ("ServingError",),
    "rllm_assets.tracking.lineage": ("LineageError",),
    "rllm_assets.training.checkpoints": ("CheckpointError",),
    "rllm_assets.training.collective": ("WorkerGoneError",),
    "rllm_assets.training.search_space": ("TuningError",),
    "rllm_assets.training.records": ("TrainingError",),
    "rllm_assets.training.update": ("BadLossError",),
    "rllm_assets.verification.validation": ("ValidationError",),
}


def schema_of(columns: Sequence[dict[str, Any]], descriptions: dict[str, str] | None = None) -> dg.TableSchema:
    """Return the schema of a table for the UI."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                column["name"],
                column["type"],
                description=(descriptions or {}).get(column["name"]),
                constraints=dg.TableColumnConstraints(nullable=column["nullable"]),
            )
            for column in columns
        ]
    )


def picture(png: bytes, caption: str) -> dg.MarkdownMetadataValue:
    """Return a PNG as metadata that the UI shows."""
    return dg.MetadataValue.md(f"![{caption}](data:image/png;base64,{base64.b64encode(png).decode()})")


def log_progress(context: dg.AssetExecutionContext, **numbers: float | int | str) -> None:
    """Log a line that a person can read and a program can parse."""
    context.log.info("progress %s", json.dumps({"asset": context.asset_key_for_output().to_user_string(), **numbers}))


def refuse(message: str) -> dg.Failure:
    """Return the failure of a step that would fail again: Dagster does not retry it."""
    return dg.Failure(message, allow_retries=False)


@contextlib.contextmanager
def refusing(partition: str) -> Iterator[None]:
    """Turn an error that the library raises on purpose into one line that names the partition.

    Raises:
        dagster.Failure: for one of `LIBRARY_ERRORS`; not retried.
    """
    try:
        yield
    except loaded_errors(LIBRARY_ERRORS) as error:
        message = " ".join(str(error).split())
        raise refuse(message if message.startswith(f"{partition}: ") else f"{partition}: {message}") from None
