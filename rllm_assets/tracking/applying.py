"""How each operation is done with MLflow's client; doing one twice changes nothing the second time."""

import getpass
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rllm_assets.tracking.adapters import RegisteredAdapter, log_adapter, set_alias
from rllm_assets.tracking.names import MAX_DIGEST_LENGTH
from rllm_assets.tracking.operations import (
    EndRun,
    LogAdapter,
    LogDataset,
    LogFiles,
    LogMetrics,
    LogParams,
    OpenRun,
    Operation,
    SetAlias,
    SetTags,
)
from rllm_assets.tracking.processes import ProcessIdentity
from rllm_assets.tracking.server import Session, TrackingRefusedError

if TYPE_CHECKING:
    from mlflow.entities import Run

T = TypeVar("T")

KEY_TAG = "rllm.run_key"
HOST_TAG = "rllm.host"
PROCESS_TAG = "rllm.process"
REASON_TAG = "rllm.ended_because"

# Of one request, in MLflow's REST interface.
_METRICS_A_REQUEST = 1000
_ENTRIES_A_REQUEST = 100


def process_tags(process: ProcessIdentity) -> dict[str, str]:
    """Return the tags by which a run is known as an orphan when its process has gone."""
    return {HOST_TAG: process.host, PROCESS_TAG: process.model_dump_json()}


def open_run(session: Session, operation: OpenRun) -> str:
    """Return MLflow's id of a run, which is made where MLflow does not have it yet."""
    if operation.run_id is not None:
        return operation.run_id
    if (known := _find_run(session, operation.key)) is not None:
        return known
    parent = operation.parent_id or (operation.parent_key and _find_run(session, operation.parent_key))
    tags = {
        **operation.tags,
        **({"mlflow.parentRunId": parent} if parent else {}),
        "mlflow.user": _user(),
        "mlflow.source.name": "rllm_assets",
        KEY_TAG: operation.key,
        **process_tags(operation.process),
    }
    run = session.client.create_run(session.experiment_id, operation.time, tags, operation.name)
    return run.info.run_id


def apply(session: Session, run_id: str, operation: Operation) -> RegisteredAdapter | None:
    """Do `operation` on the run `run_id`; those on adapters return the registered version.

    Raises:
        TrackingRefusedError, mlflow.exceptions.MlflowException: where it cannot be done.
    """
    return _WAYS[type(operation)](session, run_id, operation)


def running_on(session: Session, host: str) -> Iterator["Run"]:
    """Yield the runs of the experiment that are RUNNING and were opened by a process of `host`."""
    token = None
    while True:
        page = session.client.search_runs(
            [session.experiment_id], f"attributes.status = 'RUNNING' and tags.`{HOST_TAG}` = '{host}'", page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _find_run(session: Session, key: str) -> str | None:
    found = session.client.search_runs([session.experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    return found[0].info.run_id if found else None


def _log_metrics(session: Session, run_id: str, operation: LogMetrics) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(
            name,
            value,
            operation.time,
            operation.step,
            model_id=operation.model_id,
            dataset_name=operation.dataset_name,
            dataset_digest=operation.dataset_digest and operation.dataset_digest[:MAX_DIGEST_LENGTH],
        )
        for name, value in operation.metrics.items()
    ]
    for part in _parts(metrics, _METRICS_A_REQUEST):
        session.client.log_batch(run_id, metrics=part)


def _log_params(session: Session, run_id: str, operation: LogParams) -> None:
    from mlflow.entities import Param

    for part in _parts([Param(name, value) for name, value in operation.params.items()], _ENTRIES_A_REQUEST):
        session.client.log_batch(run_id, params=part)


def _set_tags(session: Session, run_id: str, operation: SetTags) -> None:
    from mlflow.entities import RunTag

    for part in _parts([RunTag(name, value) for name, value in operation.tags.items()], _ENTRIES_A_REQUEST):
        session.client.log_batch(run_id, tags=part)


def _log_files(session: Session, run_id: str, operation: LogFiles) -> None:
    if operation.path.is_dir():
        session.client.log_artifacts(run_id, str(operation.path), operation.artifact_path)
    elif operation.path.is_file():
        session.client.log_artifact(run_id, str(operation.path), operation.artifact_path)
    else:
        raise TrackingRefusedError(f"{operation.path}: no such file or directory, so it cannot be logged")


def _log_dataset(session: Session, run_id: str, operation: LogDataset) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=operation.name,
        digest=operation.digest[:MAX_DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": operation.source}),
        profile=json.dumps({"num_rows": operation.rows, "data_version": operation.digest}),
    )
    session.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", operation.context)])])


def _end_run(session: Session, run_id: str, operation: EndRun) -> None:
    if operation.reason:
        session.client.set_tag(run_id, REASON_TAG, operation.reason)
    session.client.set_terminated(run_id, operation.status, operation.time)


def _log_adapter(session: Session, run_id: str, operation: LogAdapter) -> RegisteredAdapter:
    if not operation.directory.is_dir():
        raise TrackingRefusedError(f"{operation.directory}: no such directory, so the adapter cannot be registered")
    return log_adapter(session, run_id, operation)


def _set_alias(session: Session, run_id: str, operation: SetAlias) -> RegisteredAdapter:
    return set_alias(session, operation)


def _is_open(session: Session, run_id: str, operation: OpenRun) -> None:
    """Do nothing: there is a run id, so the run is open."""


_WAYS: dict[type[Operation], Callable[..., RegisteredAdapter | None]] = {
    OpenRun: _is_open,
    LogMetrics: _log_metrics,
    LogParams: _log_params,
    SetTags: _set_tags,
    LogFiles: _log_files,
    LogDataset: _log_dataset,
    LogAdapter: _log_adapter,
    SetAlias: _set_alias,
    EndRun: _end_run,
}


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        return "unknown"
