"""Benchmarks: a `benchmark.yaml` that says where closed issues come from and how answers are given."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rllm_assets.config import PRESETS, ConfigError, Layer, Resolved, resolve
from rllm_assets.data.answers import ANSWER_FORMATS
from rllm_assets.data.hashing import combined_hash, content_hash, unchanged_file_hash
from rllm_assets.data.issues import first_error

FILE_NAME = "benchmark.yaml"
BUNDLED = Path(__file__).parent / "benchmarks"

# Partition keys appear in paths, URLs, MLflow names and comma-separated lists on command lines.
SLUG = r"^[a-z0-9](?:[a-z0-9_\-]{0,61}[a-z0-9])?$"


class BenchmarkError(ValueError):
    """A benchmark is missing or its description is wrong; the message names file and field and says what to do."""


class Runs(BaseModel):
    """Where old runs of agents lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1, description="File or folder of runs, relative to benchmark.yaml.")
    reports: str = Field(
        default="", description="A report of SWE-bench, or a folder of those of one evaluation, relative as well."
    )


class _Description(BaseModel):
    """The content of a `benchmark.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=SLUG, description="Lower-case letters, digits, - and _; the partition key.")
    description: str = Field(default="", description="What the issues are about.")
    source: str = Field(description="Kind of source.")
    path: str = Field(
        default="", description="File or directory of the source, relative to benchmark.yaml; a union has none."
    )
    answer_format: str = Field(
        default="",
        description="How a model answers; by a function, or by search_replace where issues are of repositories.",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the source.")
    runs: Runs | None = Field(default=None, description="Old runs of agents at these issues.")
    preset: str = Field(default="smollm2", description="Configuration to start from.")
    config: dict[str, Any] = Field(default_factory=dict, description="Configuration keys of this benchmark.")


class Benchmark(_Description):
    """A benchmark and the directory that it was read from."""

    answer_format: str = "function"
    directory: Path

    @property
    def source_path(self) -> Path:
        """Where the source lies."""
        return (self.directory / self.path).resolve()

    @property
    def runs_path(self) -> Path:
        """Where the old runs lie.

        Raises:
            BenchmarkError: where there are none.
        """
        if self.runs is None:
            raise BenchmarkError(f"{self.id} has no runs")
        return (self.directory / self.runs.path).resolve()

    @property
    def reports_path(self) -> Path | None:
        """Where the reports of the old runs lie, if anywhere."""
        return (self.directory / self.runs.reports).resolve() if self.runs and self.runs.reports else None

    def content_hash(self) -> str:
        """Hash of the description, of the source and of the old runs: the data version of `benchmark_source`."""
        described = content_hash(self.model_dump(mode="json", exclude={"directory"}))
        return combined_hash([described, *self._source_hashes(), *self._runs_hashes()])

    def issues_hash(self) -> str:
        """Hash of what the issues come from: the source with its options, less what is configured besides."""
        read = content_hash({"source": self.source, "options": self.options})
        return combined_hash([read, *self._source_hashes()])

    def _source_hashes(self) -> list[str]:
        """What stands for the source's content: its version, such as a clone's commit, or every file."""
        from rllm_assets.data.sources import SOURCES

        version = SOURCES[self.source].version(self)
        if version is not None:
            return [version]
        return _file_hashes(self.source_path)

    def _runs_hashes(self) -> list[str]:
        if self.runs is None:
            return []
        reports = self.reports_path
        return [*_file_hashes(self.runs_path), *(_file_hashes(reports) if reports is not None else ())]

    def layers(self) -> tuple[Layer, ...]:
        """The configuration layers that the benchmark stands for: its preset, then its own keys."""
        return (
            Layer(f"preset {self.preset}", PRESETS[self.preset], is_preset=True),
            Layer(f"{self.id}/{FILE_NAME}", self.config),
        )

    def resolve(self, *later: Layer) -> Resolved:
        """Merge the benchmark's configuration with later layers.

        Raises:
            ConfigError: as `rllm_assets.config.resolve`.
        """
        resolved = resolve(*self.layers(), *later)
        for key, origin in resolved.origins.items():
            if key.startswith("agent.") and self.answer_format != "agent":
                raise ConfigError(
                    f"{origin}: {key} has no effect where answer_format is {self.answer_format}; remove it"
                )
        return resolved


def _file_hashes(root: Path) -> list[str]:
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return [f"{p.name} {unchanged_file_hash(p)}" for p in files if p.name != FILE_NAME]


def read_benchmark(path: Path) -> Benchmark:
    """Read and check a `benchmark.yaml`, with what its source and its configuration refer to.

    Raises:
        BenchmarkError: naming the file, the field and what is wrong.
    """
    benchmark = read_description(path)
    _check_version(benchmark, path)
    try:
        benchmark.resolve()
    except ConfigError as error:
        raise BenchmarkError(f"{path}: config: {error}") from None
    return benchmark


def read_description(path: Path) -> Benchmark:
    """Read a `benchmark.yaml` and check it by itself.

    Raises:
        BenchmarkError: naming the file, the field and what is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BenchmarkError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise BenchmarkError(f"{path}: a mapping is expected, with at least id, source and path")
    try:
        description = _Description.model_validate(content)
    except ValidationError as error:
        field, reason = first_error(error)
        raise BenchmarkError(f"{path}: {field}: {_hint(field, reason)}") from None
    _check_source(description, path)
    asked = description.answer_format or _usual_format(description)
    benchmark = Benchmark.model_validate({**description.model_dump(), "answer_format": asked, "directory": path.parent})
    _check_names(benchmark, path)
    _check_path(benchmark, path)
    return benchmark


def _hint(field: str, reason: str) -> str:
    known = list(_Description.model_fields)
    if field.startswith("runs."):
        known = [f"runs.{name}" for name in Runs.model_fields]
    if reason.startswith("Extra inputs"):
        close = difflib.get_close_matches(field, known, n=1)
        return f"unknown field; did you mean {close[0]}?" if close else f"unknown field; known are {', '.join(known)}"
    if field == "id":
        return f"{reason}; use lower-case letters, digits, - and _ (it becomes the partition key)"
    return reason


def _check_source(description: _Description, path: Path) -> None:
    from rllm_assets.data.sources import SOURCES

    if description.source not in SOURCES:
        raise BenchmarkError(f"{path}: source: unknown {description.source!r}; known are {', '.join(SOURCES)}")


def _usual_format(description: _Description) -> str:
    from rllm_assets.data.sources import SOURCES

    return "search_replace" if SOURCES[description.source].of_repositories else "function"


def _check_names(benchmark: Benchmark, path: Path) -> None:
    from rllm_assets.data.sources import SOURCES

    for field, value, known in (
        ("answer_format", benchmark.answer_format, ANSWER_FORMATS),
        ("preset", benchmark.preset, PRESETS),
    ):
        if value not in known:
            raise BenchmarkError(f"{path}: {field}: unknown {value!r}; known are {', '.join(known)}")
    if benchmark.answer_format == "function" and SOURCES[benchmark.source].of_repositories:
        raise BenchmarkError(
            f"{path}: answer_format: function answers with one function, and issues of the source {benchmark.source} are of "
            "repositories; use search_replace, diff or agent"
        )


def _check_path(benchmark: Benchmark, path: Path) -> None:
    from rllm_assets.data.sources import SOURCES

    if not SOURCES[benchmark.source].has_path:
        if benchmark.path:
            raise BenchmarkError(f"{path}: path: the source {benchmark.source} has none; leave it out")
    elif not benchmark.path:
        raise BenchmarkError(f"{path}: path: Field required")
    elif not benchmark.source_path.exists():
        raise BenchmarkError(f"{path}: path: {benchmark.source_path} does not exist")
    if benchmark.runs is not None:
        for field, found in (("path", benchmark.runs_path), ("reports", benchmark.reports_path)):
            if found is not None and not found.exists():
                raise BenchmarkError(f"{path}: runs.{field}: {found} does not exist")


def _check_version(benchmark: Benchmark, path: Path) -> None:
    from rllm_assets.data.clones import CloneError
    from rllm_assets.data.sources import SOURCES

    try:
        SOURCES[benchmark.source].version(benchmark)
    except CloneError as error:
        raise BenchmarkError(f"{path}: path: {error}") from None


def benchmarks_directory() -> Path:
    """Return the directory that is watched for benchmarks: ``$RLLM_BENCHMARKS``, or ``benchmarks`` here."""
    return Path(os.environ.get("RLLM_BENCHMARKS", "benchmarks"))


def description_files(directory: Path) -> list[Path]:
    """Return the benchmark.yaml files of a directory's subdirectories, in order of their names."""
    return sorted(directory.glob(f"*/{FILE_NAME}")) if directory.is_dir() else []


def discover(directory: Path | None = None) -> Iterator[Benchmark | BenchmarkError]:
    """Read the bundled benchmarks, then those of `directory`; one that is wrong is yielded as its error, the others go on.

    Of several with one id, the one whose directory is called like it keeps it, so that a copy does not take it over.
    """
    files = [*description_files(BUNDLED), *description_files(directory or benchmarks_directory())]
    read = {path: _read(path) for path in files}
    owners: dict[str, Path] = {}
    for path, found in read.items():
        if isinstance(found, Benchmark):
            is_better = path.parent.name == found.id and BUNDLED not in owners.get(found.id, path).parents
            if found.id not in owners or is_better:
                owners[found.id] = path
    for path, found in read.items():
        if isinstance(found, Benchmark) and owners[found.id] != path:
            yield BenchmarkError(f"{path}: id: {found.id!r} is taken by {owners[found.id]}; choose another")
        else:
            yield found


def _read(path: Path) -> Benchmark | BenchmarkError:
    try:
        return read_benchmark(path)
    except BenchmarkError as error:
        return error


def find_benchmark(benchmark_id: str, directory: Path | None = None) -> Benchmark:
    """Return the benchmark with an id.

    Raises:
        BenchmarkError: where it cannot be read, saying why; where there is none, listing those there are and those that
            could not be read.
    """
    where = directory or benchmarks_directory()
    found = list(discover(where))
    for benchmark in found:
        if isinstance(benchmark, Benchmark) and benchmark.id == benchmark_id:
            return benchmark
    if (own := where / benchmark_id / FILE_NAME).is_file():
        read_benchmark(own)
    known = ", ".join(b.id for b in found if isinstance(b, Benchmark)) or "none"
    broken = "".join(f"; not readable: {error}" for error in found if isinstance(error, BenchmarkError))
    raise BenchmarkError(f"unknown benchmark {benchmark_id!r}; known in {where} and bundled: {known}{broken}")
