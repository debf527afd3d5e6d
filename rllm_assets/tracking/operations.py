"""What can be told to MLflow, as records: they are applied at once, or kept in the spool and applied later.

Each record holds the time it was made at, and applying one twice is the same as applying it once.
"""

import shutil
import time
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from rllm_assets.tracking.processes import ProcessIdentity

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


def now_milliseconds() -> int:
    """Return the time as MLflow counts it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class _Operation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings", protected_namespaces=())

    time: int = Field(default_factory=now_milliseconds, description="Milliseconds since 1970.")

    def kept_in(self, folder: Path) -> Self:
        """Return the operation on copies, in `folder`, of the files that it names."""
        return self


class OpenRun(_Operation):
    """A run begins."""

    kind: Literal["open"] = "open"
    key: str = Field(description="Our own name of the run, which exists before MLflow knows it.")
    run_id: str | None = Field(default=None, description="MLflow's id, where MLflow knows the run already.")
    name: str
    tags: dict[str, str] = Field(default_factory=dict)
    parent_key: str | None = Field(default=None, description="Our name of the run it is nested in.")
    parent_id: str | None = Field(default=None, description="Or MLflow's id of that.")
    process: ProcessIdentity = Field(description="Who opened it.")


class LogMetrics(_Operation):
    """Measured values at one step, of the run and, where it is named, of a logged model on a data set."""

    kind: Literal["metrics"] = "metrics"
    metrics: dict[str, float]
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LogParams(_Operation):
    """Settings of the run; MLflow lets each be set once."""

    kind: Literal["params"] = "params"
    params: dict[str, str]


class SetTags(_Operation):
    """Tags of the run."""

    kind: Literal["tags"] = "tags"
    tags: dict[str, str]


class LogFiles(_Operation):
    """A file, or what a directory holds."""

    kind: Literal["files"] = "files"
    path: Path
    artifact_path: str | None = None

    def kept_in(self, folder: Path) -> Self:
        """Return the operation on copies in `folder`."""
        return self.model_copy(update={"path": _copy(self.path, folder)})


class LogDataset(_Operation):
    """A data set that the run read."""

    kind: Literal["dataset"] = "dataset"
    name: str
    digest: str
    rows: int
    source: str
    context: str


class LogAdapter(_Operation):
    """An adapter directory that becomes a logged model and a registered version."""

    kind: Literal["adapter"] = "adapter"
    directory: Path
    name: str = Field(description="Of the registered model.")
    checkpoint_hash: str = Field(description="Of the adapter's content: the same content is registered once.")
    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    alias: str | None = None
    step: int = 0

    def kept_in(self, folder: Path) -> Self:
        """Return the operation on copies in `folder`."""
        return self.model_copy(update={"directory": _copy(self.directory, folder)})


class SetAlias(_Operation):
    """An alias moves to the version that holds some content."""

    kind: Literal["alias"] = "alias"
    name: str
    alias: str
    checkpoint_hash: str


class EndRun(_Operation):
    """A run ends."""

    kind: Literal["end"] = "end"
    status: RunStatus
    reason: str = ""


Operation = OpenRun | LogMetrics | LogParams | SetTags | LogFiles | LogDataset | LogAdapter | SetAlias | EndRun


class Entry(BaseModel):
    """One line of a spool file."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    operation: Annotated[Operation, Field(discriminator="kind")]


def _copy(source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
    return target
