"""MLflow runs that always end: one per heavy asset, trials nested in it, whatever happens to the process or to MLflow.

Every call names its run, so threads, nested processes and other users of mlflow do not mix. When MLflow is away, what
is logged waits in a spool and is sent when MLflow answers again; nothing that MLflow does stops the work.
"""

import logging
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllm_assets.data.hashing import content_hash
from rllm_assets.tracking.adapters import RegisteredAdapter
from rllm_assets.tracking.applying import PROCESS_TAG, REASON_TAG, apply, open_run, running_on
from rllm_assets.tracking.names import metric_name, metric_values, parameters, tag_values
from rllm_assets.tracking.operations import (
    EndRun,
    LogDataset,
    LogFiles,
    LogMetrics,
    LogParams,
    OpenRun,
    Operation,
    RunStatus,
    SetTags,
)
from rllm_assets.tracking.processes import ProcessIdentity, current_process, has_gone
from rllm_assets.tracking.server import (
    Server,
    Session,
    TrackingRefusedError,
    TrackingUnavailableError,
    database_file,
    redacted,
)
from rllm_assets.tracking.spool import Journal, Spool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class Tracking:
    """One experiment at one MLflow."""

    def __init__(
        self,
        uri: str,
        experiment: str,
        spool: Path | None = None,
        artifacts: str | None = None,
        retry_seconds: float = 30.0,
        probe_seconds: float = 3.0,
    ) -> None:
        """Take note of where MLflow is; nothing is imported or connected to before it is needed.

        `spool` is the directory for what MLflow has not got yet (default: beside a SQLite database, or in
        the user's cache).
        `artifacts` is where a new experiment's files go (default: beside a SQLite database, or where the server says).
        MLflow must show within `probe_seconds` that it answers; else it is left in peace for `retry_seconds`.

        Raises:
            ValueError: for a URI that MLflow 3 does not track to.
        """
        self.server = Server(uri, experiment, artifacts, retry_seconds, probe_seconds)
        self._spool = Spool((spool or _default_spool(uri)) / content_hash([uri, experiment])[:12])
        self._warned = False

    @property
    def uri(self) -> str:
        """Where MLflow is."""
        return self.server.uri

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self.server.experiment

    @contextmanager
    def run(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> Iterator["Run"]:
        """Open a run for the block: FINISHED after it, FAILED after an exception, KILLED after an interruption.

        First closes what killed processes left open and sends what waits in the spool. `config` becomes the parameters;
        `parent` is the MLflow id of a run to nest it in.

        Raises:
            ValueError: for the tag ``dagster_run_id``; see `asset_tags`.
        """
        self.recover()
        with self._opened(
            OpenRun(
                key=_new_key(), name=name, tags=tag_values(tags or {}), parent_id=parent, process=current_process()
            ),
            config,
        ) as run:
            yield run

    def job_run(self, dagster_run_id: str) -> str | None:
        """Return the MLflow run that dagster-mlflow opened for a Dagster job; None where there is none or MLflow is away."""

        def find(session: Session) -> str | None:
            found = session.client.search_runs(
                [session.experiment_id], f"tags.dagster_run_id = '{dagster_run_id}'", max_results=1
            )
            return found[0].info.run_id if found else None

        try:
            return self.server.call(find)
        except (TrackingUnavailableError, TrackingRefusedError) as error:
            logger.warning("the job's MLflow run could not be looked up: %s", error)
            return None

    def recover(self) -> None:
        """Send what waits in the spool and close, as KILLED, runs whose process on this host has gone."""
        self.send()
        if self.server.resting:
            return
        try:
            self.server.call(_close_orphans)
        except TrackingUnavailableError as error:
            self._warn(error)
        except TrackingRefusedError as error:
            logger.warning("runs of killed processes could not be closed: %s", error)

    def send(self) -> int:
        """Send what waits in the spool and return how many entries that were; 0 where MLflow does not answer."""
        if self.server.resting or not self._spool.pending():
            return 0
        sent = 0
        with self._spool.sending() as mine:
            for journal in self._spool.pending() if mine else []:
                try:
                    sent += self._replay(journal)
                except TrackingUnavailableError as error:
                    self._warn(error)
                if self.server.resting:
                    break
        if sent:
            self._warned = False
            logger.info("MLflow at %s answers again: %d kept entries were sent", redacted(self.uri), sent)
        return sent

    @contextmanager
    def _opened(self, operation: OpenRun, config: Mapping[str, Any] | None) -> Iterator["Run"]:
        run = Run(self, operation, self._spool.journal(operation))
        try:
            run.perform(operation)
            if config:
                run.log_params(config)
            yield run
        except Exception as error:
            run._end("FAILED", f"{type(error).__name__}: {error}"[:500])
            raise
        except BaseException as interruption:
            run._end("KILLED", type(interruption).__name__)
            raise
        else:
            run._end("FINISHED")

    def _replay(self, journal: Journal) -> int:
        with journal.replaying() as operations:
            if not operations or not isinstance(operations[0], OpenRun):
                return 0
            opened = operations[0]
            if not isinstance(operations[-1], EndRun) and has_gone(opened.process):
                operations.append(EndRun(status="KILLED", reason="the process has gone", time=operations[-1].time))
            try:
                run_id = self.server.call(partial(open_run, operation=opened))
            except TrackingRefusedError as error:
                for operation in operations:
                    self._spool.reject(opened, operation, str(error))
                return 0
            for operation in operations:
                try:
                    self.server.call(partial(apply, run_id=run_id, operation=operation))
                except TrackingRefusedError as error:
                    self._spool.reject(opened, operation, str(error))
        return len(operations)

    def _warn(self, error: TrackingUnavailableError) -> None:
        # Once an outage, not once a step.
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s; what is logged is kept in %s and sent when it answers again", error, self._spool.directory
            )


class Run:
    """An open run; made by `Tracking.run` and `Run.child`."""

    def __init__(self, tracking: Tracking, opened: OpenRun, journal: Journal) -> None:
        self.tracking = tracking
        self.name = opened.name
        self._opened = opened
        self._journal = journal
        self._run_id: str | None = None
        self._params: dict[str, str] = {}
        self._next_try = 0.0
        self._lock = threading.RLock()

    @property
    def id(self) -> str | None:
        """MLflow's id of the run; None while MLflow has been away since the run began."""
        return self._run_id

    @contextmanager
    def child(
        self, name: str, tags: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
    ) -> Iterator["Run"]:
        """Open a run nested in this one for the block, such as a trial; it ends as `Tracking.run` says."""
        operation = OpenRun(
            key=_new_key(),
            name=name,
            tags=tag_values(tags or {}),
            parent_key=self._opened.key,
            parent_id=self._run_id,
            process=self._opened.process,
        )
        with self.tracking._opened(operation, config) as run:
            yield run

    def log_metrics(
        self,
        metrics: Mapping[str, float],
        step: int = 0,
        model_id: str | None = None,
        dataset: tuple[str, str] | None = None,
    ) -> None:
        """Log numbers at a step; ``pass@1`` is called ``pass_at_1``.

        `model_id` attaches them to a logged model as well, `dataset` (name, digest) to what they were measured on.

        Raises:
            ValueError: for a value that is not a number, and for two names that become one.
        """
        name, digest = dataset or (None, None)
        values = metric_values(metrics)
        if values:
            self.perform(
                LogMetrics(metrics=values, step=step, model_id=model_id, dataset_name=name, dataset_digest=digest)
            )

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings; a tree of them gets dotted names.

        Raises:
            ValueError: for one that this run has logged with another value, which MLflow does not allow.
        """
        values = parameters(params)
        for name, value in values.items():
            if self._params.get(name, value) != value:
                raise ValueError(
                    f"the parameter {name!r} of the run {self.name!r} is {self._params[name]!r} already, not {value!r}"
                )
        self._params.update(values)
        if values:
            self.perform(LogParams(params=values))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; a later value replaces an earlier one."""
        if tags:
            self.perform(SetTags(tags=tag_values(tags or {})))

    def log_figure(self, name: str, figure: "Figure") -> None:
        """Log a matplotlib figure as ``plots/NAME.png``."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{metric_name(name).replace('/', '_')}.png"
            figure.savefig(path, bbox_inches="tight")
            self.log_artifact(path, "plots")

    def log_artifact(self, path: Path, artifact_path: str | None = None) -> None:
        """Log a file, under `artifact_path` where given.

        Raises:
            FileNotFoundError: where there is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file to log")
        self.perform(LogFiles(path=path.absolute(), artifact_path=artifact_path))

    def log_artifacts(self, directory: Path, artifact_path: str | None = None) -> None:
        """Log what a directory holds, under `artifact_path` where given.

        Raises:
            FileNotFoundError: where there is no such directory.
        """
        if not directory.is_dir():
            raise FileNotFoundError(f"{directory}: no such directory to log")
        self.perform(LogFiles(path=directory.absolute(), artifact_path=artifact_path))

    def log_dataset(self, name: str, digest: str, rows: int, source: str, context: str = "training") -> None:
        """Log a data set that the run reads: name, content hash, number of rows, where it lies, what it is used for."""
        self.perform(LogDataset(name=name, digest=digest, rows=rows, source=source, context=context))

    def perform(self, operation: Operation) -> RegisteredAdapter | None:
        """Do an operation now, or keep it for later; the result is None where it was kept or refused."""
        with self._lock:
            if self._journal.pending and time.monotonic() >= self._next_try:
                self.tracking.send()
                self._next_try = time.monotonic() + self.tracking.server.retry_seconds
            if not self._journal.pending:
                try:
                    return self.tracking.server.call(partial(self._apply, operation=operation))
                except TrackingRefusedError as error:
                    self.tracking._spool.reject(self._opened, operation, str(error))
                    return None
                except TrackingUnavailableError as error:
                    self.tracking._warn(error)
                    self._next_try = time.monotonic() + self.tracking.server.retry_seconds
            self._keep(operation)
        return None

    def _end(self, status: RunStatus, reason: str = "") -> None:
        # The last chance of this run's own to send what it kept.
        self._next_try = 0.0
        self.perform(EndRun(status=status, reason=reason))

    def _apply(self, session: Session, operation: Operation) -> RegisteredAdapter | None:
        if self._run_id is None:
            self._run_id = open_run(session, self._opened)
        return apply(session, self._run_id, operation)

    def _keep(self, operation: Operation) -> None:
        opened = self._opened.model_copy(update={"run_id": self._run_id})
        try:
            self._journal.append(opened, *([] if operation.kind == "open" else [operation]))
        except OSError as error:
            # A full disk takes the record of the work, not the work.
            logger.warning("run %s: %s could not be kept and is lost: %s", self.name, operation.kind, error)


def _close_orphans(session: Session) -> None:
    for run in running_on(session, socket.gethostname()):
        process = ProcessIdentity.model_validate_json(run.data.tags[PROCESS_TAG])
        if has_gone(process):
            session.client.set_tag(run.info.run_id, REASON_TAG, f"process {process.pid} has gone")
            session.client.set_terminated(run.info.run_id, "KILLED")
            logger.info("closed the run %s of process %d, which has gone", run.info.run_name, process.pid)


def _new_key() -> str:
    return uuid.uuid4().hex


def _default_spool(uri: str) -> Path:
    database = database_file(uri)
    if database is not None:
        return database.parent / "mlflow_spool"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "rllm_assets" / "mlflow_spool"
