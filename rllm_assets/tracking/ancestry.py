"""Questions to a lineage: its tree, whether an issue went into it, and whether the files are still what was written."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rllm_assets.data.hashing import content_hash, file_hash
from rllm_assets.tracking.lineage import (
    Lineage,
    LineageError,
    LineageInput,
    LineageRecord,
    artefact_files,
    is_as_written,
    lineage_path,
    read_lineage,
)

Kind = Literal["changed", "missing", "unexpected", "lineage", "stale", "elsewhere"]


@dataclass(frozen=True)
class Node:
    """One artefact in the tree: its record, or only its name where it is something outside without a lineage."""

    source: LineageInput
    record: LineageRecord | None
    children: tuple["Node", ...] = ()
    repeated: bool = field(default=False)
    """Whether its inputs are shown at an earlier place in the tree."""


@dataclass(frozen=True)
class Dependence:
    """How an artefact depends on one issue."""

    instance_id: str
    content_hash: str | None
    """Of the issue as it was read; None where it was not."""
    read_through: tuple[LineageRecord, ...]
    """The nearest artefacts that hold the issue and were read."""
    only_in: tuple[LineageRecord, ...]
    """Artefacts further up that hold it, where something nearer, such as a split, left it out."""

    @property
    def depends(self) -> bool:
        """Whether the issue went into the artefact."""
        return bool(self.read_through)


@dataclass(frozen=True)
class Finding:
    """Something that `verify` found."""

    kind: Kind
    path: Path
    message: str

    @property
    def broken(self) -> bool:
        """Whether something is not as it was written; a changed or absent input is only worth knowing."""
        return self.kind not in ("stale", "elsewhere")


def tree(artefact: Path) -> Node:
    """Return an artefact with its inputs, theirs and so on; each is opened up once.

    Raises:
        LineageError: where the lineage cannot be read.
    """
    lineage = read_lineage(artefact)
    root = LineageInput(asset=lineage.asset, partition=lineage.partition, data_version=lineage.data_version)
    records = {**lineage.ancestors, lineage.key: lineage.own}
    seen: set[str] = set()

    def node(source: LineageInput) -> Node:
        record = records.get(source.key)
        if source.key in seen:
            return Node(source, record, repeated=bool(record and record.inputs))
        seen.add(source.key)
        return Node(source, record, tuple(node(item) for item in record.inputs) if record else ())

    return node(root)


def issues_of(artefact: Path, record: LineageRecord) -> dict[str, str]:
    """Return the issues of one of the records in an artefact's lineage, instance id to content hash.

    Raises:
        LineageError: where they are in a file that is not there any more, or is another.
    """
    issues = record.issues
    if issues is None:
        return {}
    if issues.ids is not None:
        return issues.ids
    path = lineage_path(artefact).parent / (issues.file or "")
    if not path.is_file():
        raise LineageError(
            f"the {issues.count:,} issues of {record.title} are listed in {path}, which is not there; copy it back"
        )
    ids = _ids_in(path)
    if content_hash(ids) != issues.digest:
        raise LineageError(
            f"{path} does not hold the {issues.count:,} issues of {record.title} any more; its content has changed"
        )
    return ids


def dependence(artefact: Path, instance_id: str) -> Dependence:
    """Tell whether an issue went into an artefact.

    An artefact that holds issues stands for everything above it: a checkpoint trained on one split does not depend on
    the issues of the other, though both were cut from the same pool.

    Raises:
        LineageError: where the lineage cannot be read.
    """
    lineage = read_lineage(artefact)
    records = {**lineage.ancestors, lineage.key: lineage.own}
    nearest = [records[key] for key in _nearest(lineage.key, records)]
    further = [record for record in records.values() if record.issues is not None and record not in nearest]
    hashes = {record.key: issues_of(artefact, record).get(instance_id) for record in nearest}
    return Dependence(
        instance_id=instance_id,
        content_hash=next((value for value in hashes.values() if value is not None), None),
        read_through=tuple(record for record in nearest if hashes[record.key] is not None),
        only_in=tuple(record for record in further if _holds(artefact, record, instance_id)),
    )


def verify(artefact: Path) -> list[Finding]:
    """Recompute the hashes of an artefact's files, and of those of its ancestors that are where they were.

    Raises:
        LineageError: where the artefact's own lineage cannot be read.
    """
    lineage = read_lineage(artefact)
    return list(_verified(lineage_path(artefact).absolute(), lineage, set()))


def _verified(path: Path, lineage: Lineage, seen: set[Path]) -> Iterator[Finding]:
    seen.add(path.resolve())
    if not is_as_written(path.read_text(encoding="utf-8")):
        yield Finding("lineage", path, "the lineage file was changed after it was written")
    present = dict(artefact_files(path, lineage.volatile))
    for name, expected in lineage.files.items():
        file = present.pop(name, None)
        if file is None:
            yield Finding("missing", path.parent / name, "the file is missing")
        elif file_hash(file) != expected:
            yield Finding("changed", file, "the file was changed after it was written")
    for file in present.values():
        yield Finding("unexpected", file, "the file was added after the artefact was written")
    for source in lineage.inputs:
        if source.path is not None:
            yield from _verified_input(path, source, seen)


def _verified_input(path: Path, source: LineageInput, seen: set[Path]) -> Iterator[Finding]:
    location = Path(os.path.normpath(path.parent / (source.path or "")))
    if location.resolve() in seen:
        return
    title = f"{source.asset} {source.data_version[:12]}"
    if not location.is_file():
        yield Finding("elsewhere", location, f"{title} is not there, so it was not checked")
        return
    try:
        parent = read_lineage(location)
    except LineageError as error:
        yield Finding("lineage", location, str(error))
        return
    if (parent.asset, parent.partition) != (source.asset, source.partition):
        yield Finding("elsewhere", location, f"{title} is not there any more, so it was not checked")
    elif parent.data_version != source.data_version:
        yield Finding(
            "stale",
            location,
            f"{source.asset} has been made again since: {source.data_version[:12]} was read, "
            f"{parent.data_version[:12]} is there",
        )
    else:
        yield from _verified(location, parent, seen)


def _holds(artefact: Path, record: LineageRecord, instance_id: str) -> bool:
    try:
        return instance_id in issues_of(artefact, record)
    except LineageError:
        # A pool whose list lies elsewhere does not matter to what was read.
        return False


def _nearest(root: str, records: dict[str, LineageRecord]) -> Iterator[str]:
    """Yield the keys of the artefacts with issues that are reached from `root` without passing another one."""
    waiting, seen = [root], {root}
    while waiting:
        record = records.get(waiting.pop())
        if record is None:
            continue
        if record.issues is not None:
            yield record.key
            continue
        for source in record.inputs:
            if source.key not in seen:
                seen.add(source.key)
                waiting.append(source.key)


def _ids_in(path: Path) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.json
    import pyarrow.parquet

    columns = ["instance_id", "content_hash"]
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        table = (
            pyarrow.parquet.read_table(path, columns=columns)
            if parquet
            else pyarrow.json.read_json(path).select(columns)
        )
    except (pa.ArrowInvalid, KeyError) as error:
        raise LineageError(f"{path} has no readable columns {' and '.join(columns)}: {error}") from None
    return dict(sorted(zip(*(table[name].to_pylist() for name in columns), strict=True)))
