"""Lineage: what an artefact was made from, by whom and how, written beside it and embedding all of its ancestors.

A copy of the artefact alone can therefore be followed back to the issues, without Dagster.
"""

import datetime
import fnmatch
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from rllm_assets.data.files import write_text
from rllm_assets.data.hashing import content_hash, file_hash
from rllm_assets.data.issues import first_error

LINEAGE_FILE = "lineage.json"
FORMAT = 1

MAX_EMBEDDED_ISSUES = 5_000
"""More issues than this stay in the artefact that holds them; listed, each takes 200 bytes in every descendant."""

PACKAGES = ("rllm_assets", "torch", "transformers", "peft", "dagster", "mlflow", "ray", "optuna", "pydantic", "pyarrow")


class LineageError(ValueError):
    """A lineage file is missing, unreadable or not one; the message names it and what to do."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LineageInput(_Record):
    """One input, by its content."""

    asset: str = Field(description="Asset key.")
    partition: str | None = Field(default=None, description="Benchmark id.")
    data_version: str = Field(description="Hash of what was read.")
    path: str | None = Field(
        default=None, description="Its lineage file, relative to this one; a hint, for it may have moved."
    )

    @property
    def key(self) -> str:
        """The name of the input's record among the ancestors."""
        return record_key(self.asset, self.partition, self.data_version)


class IssueSet(_Record):
    """The issues that an artefact holds: listed, or, where there are too many, counted, hashed and found in a file."""

    count: int = Field(ge=0, description="How many.")
    digest: str = Field(description="Hash of all ids with their content hashes.")
    ids: dict[str, str] | None = Field(
        default=None, description="Instance id to content hash; none where `file` has them."
    )
    file: str | None = Field(
        default=None, description="Parquet or JSONL with instance_id and content_hash, relative to the lineage file."
    )


class LineageRecord(_Record):
    """How one artefact came to be."""

    asset: str = Field(min_length=1, description="Asset key.")
    partition: str | None = Field(default=None, description="Benchmark id.")
    data_version: str = Field(min_length=1, description="Hash of what was written.")
    inputs: tuple[LineageInput, ...] = Field(default=(), description="What it was made from.")
    issues: IssueSet | None = Field(default=None, description="The issues it holds, for the assets that hold issues.")
    code_version: str = Field(default="", description="Of the asset's code.")
    config: dict[str, JsonValue] = Field(default_factory=dict, description="The resolved configuration.")
    seed: int | None = Field(default=None, description="Of everything random.")
    packages: dict[str, str] = Field(default_factory=dict, description="Versions of the packages that matter.")
    hardware: dict[str, str] = Field(default_factory=dict, description="What it was made on.")
    dagster_run_id: str | None = Field(default=None, description="The Dagster run.")
    mlflow_run_id: str | None = Field(default=None, description="The MLflow run.")
    created_at: str = Field(default="", description="ISO 8601, UTC.")
    files: dict[str, str] = Field(default_factory=dict, description="The artefact's files and the SHA-256 of each.")
    volatile: tuple[str, ...] = Field(
        default=(), description="Patterns of file names that change in use, such as logs; not hashed."
    )

    @property
    def key(self) -> str:
        """The record's name among the ancestors of others."""
        return record_key(self.asset, self.partition, self.data_version)

    @property
    def title(self) -> str:
        """Asset, partition and the beginning of the data version, for a person."""
        return f"{self.asset}{f'[{self.partition}]' if self.partition else ''} {self.data_version[:12]}"


class Lineage(LineageRecord):
    """An artefact's record with those of all its ancestors, each once."""

    format: int = Field(default=FORMAT, description="Version of this layout.")
    ancestors: dict[str, LineageRecord] = Field(default_factory=dict, description="By `LineageRecord.key`.")
    digest: str = Field(default="", description="Hash of everything else in the file.")

    @property
    def own(self) -> LineageRecord:
        """The artefact's own record."""
        return LineageRecord.model_validate(self.model_dump(include=set(LineageRecord.model_fields)))


def record_key(asset: str, partition: str | None, data_version: str) -> str:
    """Return the name of a record; equal content in two assets or partitions has two names."""
    return f"{asset}[{partition}]@{data_version}" if partition else f"{asset}@{data_version}"


def issue_set(
    content_hashes: Mapping[str, str], file: str | None = None, max_embedded: int = MAX_EMBEDDED_ISSUES
) -> IssueSet:
    """Return the record of some issues, instance id to content hash.

    `file`, relative to the lineage file, holds the issues; it stands for the list of more than `max_embedded`.

    Raises:
        ValueError: for more issues than that without a file.
    """
    ids = dict(sorted(content_hashes.items()))
    if len(ids) <= max_embedded:
        return IssueSet(count=len(ids), digest=content_hash(ids), ids=ids)
    if file is None:
        raise ValueError(f"{len(ids)} issues are too many to list in a lineage file; name the file that holds them")
    return IssueSet(count=len(ids), digest=content_hash(ids), file=file)


def lineage_path(artefact: Path) -> Path:
    """Return where an artefact's lineage lies: inside a directory, beside a file."""
    if artefact.name == LINEAGE_FILE or artefact.name.endswith("." + LINEAGE_FILE):
        return artefact
    return artefact / LINEAGE_FILE if artefact.is_dir() else artefact.with_name(f"{artefact.name}.{LINEAGE_FILE}")


def write_lineage(artefact: Path, record: LineageRecord, inputs: Iterable[Path | LineageInput] = ()) -> Lineage:
    """Write the lineage of an artefact whose files are written already, and return it.

    Each input is an artefact with a lineage of its own (directory, file or lineage file), which is embedded with its
    ancestors, or the bare `LineageInput` of something outside, such as a base model. They are added to `record.inputs`;
    the artefact's files are hashed into `record.files`, and `created_at` is set where it is empty.

    Raises:
        LineageError: for an input path without a readable lineage.
    """
    target = lineage_path(artefact).absolute()
    ancestors: dict[str, LineageRecord] = {}
    references = list(record.inputs)
    for given in inputs:
        if isinstance(given, LineageInput):
            references.append(given)
            continue
        parent = read_lineage(given)
        source = lineage_path(given).absolute()
        relative = Path(os.path.relpath(source, target.parent)).as_posix()
        references.append(
            LineageInput(
                asset=parent.asset, partition=parent.partition, data_version=parent.data_version, path=relative
            )
        )
        for ancestor in (parent.own, *parent.ancestors.values()):
            moved = _seen_from(ancestor, source.parent, target.parent)
            known = ancestors.get(moved.key)
            # The same content may have been made twice; the later record tells of what is there now.
            if known is None or known.created_at < moved.created_at:
                ancestors[moved.key] = moved
    own = record.model_copy(
        update={
            "inputs": tuple(references),
            "files": dict(_hashed_files(target, record.volatile)),
            "created_at": record.created_at or _now(),
        }
    )
    fields = {name: getattr(own, name) for name in LineageRecord.model_fields}
    lineage = Lineage(**fields, ancestors=dict(sorted(ancestors.items())))
    content = lineage.model_dump(mode="json", exclude={"digest"})
    digest = content_hash(content)
    write_text(target, _rendered({**content, "digest": digest}))
    return lineage.model_copy(update={"digest": digest})


def read_lineage(artefact: Path) -> Lineage:
    """Read the lineage of an artefact: its directory, its file or the lineage file itself.

    Raises:
        LineageError: where there is none, or it cannot be read.
    """
    path = lineage_path(artefact)
    if not path.is_file():
        reason = f"has no {path.name}" if artefact.exists() else "does not exist"
        raise LineageError(f"{artefact} {reason}; give an artefact that an asset wrote, or its {LINEAGE_FILE}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LineageError(f"{path} cannot be read as JSON ({error}); materialize its asset again") from None
    if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > FORMAT:
        raise LineageError(
            f"{path} has lineage format {content['format']}, which is newer than this program's {FORMAT}; upgrade it"
        )
    try:
        return Lineage.model_validate(content)
    except ValidationError as error:
        field, reason = first_error(error)
        raise LineageError(f"{path} is no lineage file: {field + ': ' if field else ''}{reason}") from None


def is_as_written(text: str) -> bool:
    """Tell whether every byte of a lineage file's text is as `write_lineage` wrote it.

    Judged by the text alone, so that files of older layouts stand the test too.
    """
    try:
        content = json.loads(text)
        digest = content.pop("digest", None)
        return digest == content_hash(content) and text == _rendered({**content, "digest": digest})
    except ValueError:
        # What is no JSON, such as NaN, was not written here.
        return False


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of those packages that are installed; none of them is imported."""
    versions: dict[str, str] = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def hardware() -> dict[str, str]:
    """Return what this machine is: architecture, processor, cores, memory, GPUs; nothing is started for it."""
    found = {"machine": platform.machine(), "system": platform.system(), "cpus": str(os.cpu_count() or 0)}
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            found["cpu"] = line.partition(":")[2].strip()
            break
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemTotal"):
            found["memory_gib"] = f"{int(line.split()[1]) / 2**20:.0f}"
            break
    gpus = [
        line.partition(":")[2].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in _lines(path)
        if line.startswith("Model")
    ]
    return {**found, "gpus": ", ".join(gpus)} if gpus else found


def artefact_files(lineage_file: Path, volatile: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield the names and paths of the files that belong to the artefact of a lineage file, less the volatile ones."""
    if lineage_file.name != LINEAGE_FILE:
        name = lineage_file.name.removesuffix("." + LINEAGE_FILE)
        if (path := lineage_file.with_name(name)).is_file():
            yield name, path
        return
    for path in sorted(lineage_file.parent.rglob("*")):
        name = path.relative_to(lineage_file.parent).as_posix()
        if (
            path.is_file()
            and path != lineage_file
            and not any(fnmatch.fnmatchcase(name, pattern) for pattern in volatile)
        ):
            yield name, path


def _rendered(content: dict[str, JsonValue]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _hashed_files(lineage_file: Path, volatile: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, path in artefact_files(lineage_file, volatile):
        yield name, file_hash(path)


def _seen_from(record: LineageRecord, old: Path, new: Path) -> LineageRecord:
    """Return `record` with its relative paths, which were written for the directory `old`, made relative to `new`."""

    def moved(path: str | None) -> str | None:
        return None if path is None else Path(os.path.relpath(old / path, new)).as_posix()

    inputs = tuple(source.model_copy(update={"path": moved(source.path)}) for source in record.inputs)
    issues = record.issues and record.issues.model_copy(update={"file": moved(record.issues.file)})
    return record.model_copy(update={"inputs": inputs, "issues": issues})


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
