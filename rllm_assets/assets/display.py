"""How assets show themselves: schemas, pictures, progress and refusals."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import dagster as dg


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
