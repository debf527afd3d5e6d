"""One MLflow database for all tests of this folder (making one takes seconds), and a server on it where a test needs one."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from rllm_assets.tracking.runs import Tracking


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the MLflow database."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def tracking(store: Path) -> Tracking:
    """An experiment of its own in the shared database."""
    return Tracking(f"sqlite:///{store}/mlflow.db", uuid.uuid4().hex)


@pytest.fixture
def mlflow(tracking: Tracking):
    """MLflow's own client, for looking at what arrived."""
    from mlflow import MlflowClient

    return MlflowClient(tracking.uri, registry_uri=tracking.uri)


@pytest.fixture
def runs_of(mlflow) -> Callable[[str], list]:
    """The runs of an experiment, oldest first."""

    def runs(experiment: str) -> list:
        found = mlflow.get_experiment_by_name(experiment)
        return (
            []
            if found is None
            else list(mlflow.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]))
        )

    return runs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nothing listens on."""
    return free_port()


@pytest.fixture
def serve(store: Path, tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """A function that starts an MLflow server on a port and returns when it answers."""
    started: list[subprocess.Popen] = []

    def start(port: int) -> None:
        process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "mlflow",
                    "server",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(port),
                    "--workers",
                    "1",
                ),
                *("--backend-store-uri", f"sqlite:///{store}/mlflow.db"),
                *("--artifacts-destination", str(tmp_path / "artifacts")),
            ],
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=(tmp_path / "server.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        deadline = time.monotonic() + 90
        while not answers(port):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()

    yield start
    for process in started:
        os.killpg(process.pid, 15)
        process.wait(30)


def answers(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        # Looking again at once would take the core that the server starts on.
        threading.Event().wait(0.2)
        return False
