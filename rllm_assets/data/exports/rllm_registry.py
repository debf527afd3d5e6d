"""rLLM's dataset registry: ``$RLLM_HOME/datasets/registry.json`` and two Parquet files a split (rllm/data/dataset.py).

rLLM itself writes the registry without a lock and without a rename. Here a lock lets one export after the other in, and
readers see the old registry or the new one.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rllm_assets.data.cache import locked
from rllm_assets.data.exports.dataset import Dataset, ExportError, Written, in_utf8
from rllm_assets.data.exports.rllm_rows import COLUMNS, rllm_row, unjudged
from rllm_assets.data.files import write_text
from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.data.tables import write_table

VERSION = 2
SOURCE = "rllm_assets"

SPLIT_NAMES: Mapping[str, str] = {"train": "train", "val": "test"}
"""Our splits by rLLM's names for them, which are the defaults of its commands."""

ROW_SCHEMA = pa.schema([pa.field(name, pa.string()) for name in COLUMNS])

VERL_SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        pa.field("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.null())])),
        pa.field("extra_info", pa.struct(list(ROW_SCHEMA))),
    ]
)
"""verl's columns: a placeholder of a prompt, and the whole row in `extra_info` (`apply_verl_postprocessing`)."""

_PLACEHOLDER = [{"role": "user", "content": "placeholder"}]
_REWARD_MODEL = {"style": "rule", "ground_truth": None}


def write(dataset: Dataset, directory: Path) -> Written:
    """Register the issues in the registry of an rLLM home: `directory` is its ``$RLLM_HOME``.

    Raises:
        ExportError: where a split has no row to write, the registry is not one, or somebody else's dataset has the name.
    """
    left_out: list[Rejected] = []
    splits: dict[str, list[dict[str, str]]] = {}
    notes: list[str] = []
    for split, issues in dataset.splits.items():
        kept, lost = in_utf8(issues, split)
        if not kept:
            raise ExportError(f"the split {split} of {dataset.name} has no row to write for rLLM")
        splits[SPLIT_NAMES[split]] = [rllm_row(issue) for issue in kept]
        left_out += lost
        notes += _judging(kept, SPLIT_NAMES[split])
    description = f"Verified closed issues of {dataset.name}."
    return Written(register(directory, dataset.name, splits, description), left_out, notes)


def _judging(issues: Sequence[Issue], split: str) -> Iterator[str]:
    reasons = Counter(reason for issue in issues if (reason := unjudged(issue)))
    if reasons:
        why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        yield (
            f"{split}: rLLM's RewardCodeFn judges {len(issues) - reasons.total()} of {len(issues)} rows; "
            f"it refuses those with the data_source rllm_assets: {why}"
        )


def register(
    home: Path, name: str, splits: Mapping[str, Sequence[dict[str, str]]], description: str = ""
) -> dict[Path, int]:
    """Write the rows of each split, and enter them into the registry; return the rows of each file.

    Other datasets, and the dataset's other splits, stay as they are.

    Raises:
        ExportError: where the registry is not one, or somebody else's dataset has the name.
    """
    datasets = home / "datasets"
    datasets.mkdir(parents=True, exist_ok=True)
    written: dict[Path, int] = {}
    with locked(datasets / ".registry.json.lock"):
        registry = _read(datasets / "registry.json")
        entry = registry["datasets"].setdefault(name, {"metadata": {"source": SOURCE}, "splits": {}})
        if not _is_ours(entry):
            raise ExportError(
                f"{datasets / 'registry.json'} has a dataset {name!r} that was not exported from here: choose another name"
            )
        entry["metadata"] = {"source": SOURCE, "description": description, "category": "code"}
        for split, rows in splits.items():
            path = datasets / name / f"{split}.parquet"
            write_table(pa.Table.from_pylist(list(rows), schema=ROW_SCHEMA), path)
            verl = [{"prompt": _PLACEHOLDER, "reward_model": _REWARD_MODEL, "extra_info": row} for row in rows]
            write_table(pa.Table.from_pylist(verl, schema=VERL_SCHEMA), path.with_name(f"{split}_verl.parquet"))
            entry["splits"][split] = {
                "path": f"{name}/{split}.parquet",
                "num_examples": len(rows),
                "fields": list(COLUMNS),
            }
            written[path] = len(rows)
        write_text(datasets / "registry.json", json.dumps(registry, indent=2))
    return written


def _read(path: Path) -> dict[str, Any]:
    """Return the registry, empty where there is none yet.

    Raises:
        ExportError: for one that is damaged, which rLLM would replace with an empty one, or that is of another version.
    """
    try:
        registry = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"version": VERSION, "datasets": {}}
    except ValueError as error:
        raise ExportError(f"{path} is no JSON ({error}): repair or remove it") from None
    if not isinstance(registry, dict) or registry.get("version") != VERSION:
        raise ExportError(
            f"{path} is no registry of version {VERSION}: `rllm dataset list` brings an old one up to date"
        )
    if not isinstance(registry.get("datasets"), dict):
        raise ExportError(f"{path}: datasets: a mapping is expected; repair or remove the file")
    return registry


def _is_ours(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("metadata"), dict)
        and isinstance(entry.get("splits"), dict)
        and entry["metadata"].get("source") == SOURCE
    )
