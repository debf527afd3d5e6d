"""One MLflow server or database: connected to when first needed, left in peace for a while when it does not answer."""

import logging
import socket
import sqlite3
import threading
import time
import urllib.parse
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rllm_assets.compute.loaded import loaded_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

# MLflow hands on what the client of a database or an object store raises.
_STORAGE_ERRORS = {
    "sqlalchemy.exc": ("SQLAlchemyError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "boto3.exceptions": ("Boto3Error",),
    "google.api_core.exceptions": ("GoogleAPIError",),
    "azure.core.exceptions": ("AzureError",),
}
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
# What an MLflow that works says of a request that will not work the next time either.
_REFUSALS = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "BAD_REQUEST",
        "RESOURCE_DOES_NOT_EXIST",
        "NOT_FOUND",
        "RESOURCE_ALREADY_EXISTS",
        "ALREADY_EXISTS",
    }
)


class TrackingUnavailableError(ConnectionError):
    """MLflow does not answer, or cannot do its work now; the same request may succeed later."""


class TrackingRefusedError(ValueError):
    """MLflow answered that the request is wrong; it would be wrong again."""


@dataclass(frozen=True)
class Session:
    """A working connection: MLflow's client and the experiment."""

    client: "MlflowClient"
    experiment_id: str


class Server:
    """MLflow at a URI; `call` is the only way to it.

    Nothing here touches MLflow's global state (active run, tracking URI), so threads and other users of mlflow in the
    process are left alone.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifacts: str | None = None,
        retry_seconds: float = 30.0,
        probe_seconds: float = 3.0,
    ) -> None:
        """Check the URI; nothing is connected to yet.

        Raises:
            ValueError: for a URI that MLflow 3 does not track to.
        """
        if urllib.parse.urlsplit(uri).scheme in ("", "file"):
            raise ValueError(
                f"{uri!r} is no tracking URI: MLflow 3 does not track to directories any more; "
                "use sqlite:////absolute/path/mlflow.db or a server's http:// address"
            )
        self.uri = uri
        self.experiment = experiment
        self._artifacts = artifacts or _artifacts_beside(uri, experiment)
        self.retry_seconds = retry_seconds
        self.probe_seconds = probe_seconds
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._quiet_until = 0.0
        self._reason = ""

    @property
    def resting(self) -> bool:
        """Whether the last answer failed too recently for another try."""
        return time.monotonic() < self._quiet_until

    def call(self, request: Callable[[Session], T]) -> T:
        """Return what `request` makes of the connection.

        Raises:
            TrackingUnavailableError: where MLflow does not answer, or cannot do this now.
            TrackingRefusedError: where MLflow answered and refused.
        """
        if self.resting:
            raise TrackingUnavailableError(self._reason)
        try:
            self._probe()
            session = _translated(self._connect)
        except TrackingUnavailableError as error:
            raise self._rest(error) from None
        try:
            return _translated(lambda: request(session))
        except TrackingRefusedError as error:
            raise TrackingRefusedError(f"MLflow at {redacted(self.uri)} refused: {error}") from None
        except TrackingUnavailableError as error:
            # Only a server that is away is left in peace; one that cannot do this may well do the next thing.
            try:
                self._probe()
            except TrackingUnavailableError as away:
                raise self._rest(away) from None
            raise TrackingUnavailableError(f"MLflow at {redacted(self.uri)} failed ({error})") from None

    def _rest(self, error: TrackingUnavailableError) -> TrackingUnavailableError:
        self._quiet_until = time.monotonic() + self.retry_seconds
        self._reason = f"MLflow at {redacted(self.uri)} does not answer ({error})"
        return TrackingUnavailableError(self._reason)

    def _connect(self) -> Session:
        with self._lock:
            if self._session is None:
                from mlflow import MlflowClient

                # Creating a database logs its 60 migrations, a line each.
                for name in ("alembic", "mlflow.store.db.utils"):
                    logging.getLogger(name).setLevel(logging.WARNING)
                client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
                self._session = Session(client, _experiment_id(client, self.experiment, self._artifacts))
            return self._session

    def _probe(self) -> None:
        # MLflow repeats its own requests, for four minutes to a server and 20 s to a locked database, before they fail;
        # training would stand still meanwhile.
        parts = urllib.parse.urlsplit(self.uri)
        if parts.scheme in ("http", "https"):
            _probe_server(self.uri, self.probe_seconds)
        elif (database := database_file(self.uri)) is not None:
            _probe_sqlite(database, self.probe_seconds)
        elif parts.hostname is not None and (port := parts.port or _DATABASE_PORTS.get(parts.scheme.partition("+")[0])):
            try:
                socket.create_connection((parts.hostname, port), self.probe_seconds).close()
            except OSError as error:
                raise TrackingUnavailableError(str(error)) from None


def redacted(uri: str) -> str:
    """Return `uri` without its user and password."""
    parts = urllib.parse.urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urllib.parse.urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def _translated(action: Callable[[], T]) -> T:
    from mlflow.exceptions import MlflowException

    try:
        return action()
    except (TrackingRefusedError, TrackingUnavailableError):
        raise
    except MlflowException as error:
        text = " ".join(str(error).split())[:500]
        if error.error_code in _REFUSALS:
            raise TrackingRefusedError(text) from None
        raise TrackingUnavailableError(text) from None
    except (OSError, *loaded_errors(_STORAGE_ERRORS)) as error:
        raise TrackingUnavailableError(f"{type(error).__name__}: {error}"[:500]) from None


def _probe_server(uri: str, seconds: float) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        # MLflow's own request, so that its settings for certificates, proxies and credentials hold here too.
        response = http_request(
            get_default_host_creds(uri), "/health", "GET", max_retries=0, timeout=seconds, raise_on_status=False
        )
    except MlflowException as error:
        cause = error.__context__ or error
        raise TrackingUnavailableError(" ".join(str(cause).split())[:300]) from None
    if response is not None and response.status_code >= 500:
        raise TrackingUnavailableError(f"its /health says {response.status_code}")


def _probe_sqlite(database: Path, seconds: float) -> None:
    if not database.is_file():
        return
    try:
        with closing(sqlite3.connect(database, timeout=seconds, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise TrackingUnavailableError(str(error)) from None


def _experiment_id(client: "MlflowClient", name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    for _ in range(2):
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            return experiment.experiment_id
        try:
            return client.create_experiment(name, artifact_location=artifacts)
        except MlflowException as error:
            # Another process may have made it in between.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    raise TrackingUnavailableError(f"the experiment {name!r} can neither be found nor made")


def database_file(uri: str) -> Path | None:
    """Return the database file of a SQLite URI; None for any other URI."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme.partition("+")[0] != "sqlite":
        return None
    return Path(urllib.parse.unquote(parts.path)[1:]).absolute()


def _artifacts_beside(uri: str, experiment: str) -> str | None:
    # MLflow's default for databases is ./mlruns of whatever directory the process happens to be in.
    database = database_file(uri)
    if database is None:
        return None
    folder = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in experiment)
    return (database.parent / "mlflow_artifacts" / folder).as_uri()
