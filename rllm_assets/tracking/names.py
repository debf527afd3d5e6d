"""Names and values in the forms that MLflow accepts."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_KEY_LENGTH = 250
MAX_PARAM_LENGTH = 6000
# MLflow's column for the digest of a data set; a SHA-256 has 64 digits, so its beginning stands for it.
MAX_DIGEST_LENGTH = 36

_REFUSED = re.compile(r"[^/\w.\- :]")


def asset_tags(
    asset_key: str, partition: str | None = None, dagster_run_id: str | None = None, code_version: str | None = None
) -> dict[str, str]:
    """Return the tags of a run that materializes an asset.

    The Dagster run's id is under ``dagster.run_id``: dagster-mlflow takes any run that it finds under
    ``dagster_run_id`` for the job's own and would write into it.
    """
    tags = {
        "dagster.asset_key": asset_key,
        "dagster.partition": partition,
        "dagster.run_id": dagster_run_id,
        "rllm.code_version": code_version,
    }
    return {name: value for name, value in tags.items() if value is not None}


def tag_values(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags as text.

    Raises:
        ValueError: for the tag ``dagster_run_id``; see `asset_tags`.
    """
    if "dagster_run_id" in tags:
        raise ValueError(
            "the tag dagster_run_id belongs to dagster-mlflow's run; use dagster.run_id, as asset_tags does"
        )
    return {name: str(value) for name, value in tags.items()}


def metric_name(name: str) -> str:
    """Return `name` as MLflow accepts it for a metric or parameter: ``pass@1`` becomes ``pass_at_1``.

    Raises:
        ValueError: where nothing of the name is left.
    """
    text = _REFUSED.sub("_", name.replace("@", "_at_"))
    # MLflow may keep metrics as files, so a name must be a clean relative path.
    parts = [part for part in text.split("/") if part not in ("", ".", "..")]
    text = "/".join(parts)[:MAX_KEY_LENGTH].rstrip("/")
    if not text or text in (".", "..") or not text.strip():
        raise ValueError(
            f"{name!r} is no name for a metric or parameter; use letters, digits, and _ - . / between them"
        )
    return text


def metric_values(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return `metrics` under the names that MLflow accepts, as floats.

    Raises:
        ValueError: for a value that is not a number, and for two names that become one; the message names them.
    """
    values: dict[str, float] = {}
    origins: dict[str, str] = {}
    for name, value in metrics.items():
        clean = metric_name(name)
        if clean in origins:
            raise ValueError(
                f"the metrics {origins[clean]!r} and {name!r} would both be called {clean!r} in MLflow; rename one"
            )
        try:
            values[clean] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"the metric {name!r} is {value!r}, which is not a number") from None
        origins[clean] = name
    return values


def parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a configuration tree as MLflow parameters: dotted keys, values as text, long ones cut with a mark."""
    return {metric_name(key): _cut(str(value)) for key, value in _leaves(config)}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _cut(text: str) -> str:
    mark = " … cut"
    return text if len(text) <= MAX_PARAM_LENGTH else text[: MAX_PARAM_LENGTH - len(mark)] + mark
