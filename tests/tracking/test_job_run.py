"""The run of a whole job around those of its assets: dagster-mlflow's, in our experiment, ended whatever happens."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rllm_assets.resources.tracking import JobRun
from rllm_assets.tracking.runs import Tracking

REPOSITORY = Path(__file__).parents[2]


def start(folder: Path, executor: str, uri: str, **environment: str) -> subprocess.Popen[str]:
    """Start the job of `tests.tracking.jobs` in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from tests.tracking.jobs import run; raise SystemExit(not run({executor!r}))"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": uri, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def by_name(uri: str) -> dict:
    """The runs of the experiment that jobs use."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("rllm")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture
def home(store, tmp_path) -> Path:
    """A directory with an MLflow database that does not have the experiment yet; making a database takes seconds."""
    Tracking(f"sqlite:///{store}/mlflow.db", "another").recover()
    (tmp_path / "home").mkdir()
    shutil.copy(store / "mlflow.db", tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.long
@pytest.mark.parametrize(("environment", "status"), [({}, "FINISHED"), ({"FAIL": "1"}, "FAILED")])
def test_the_job_has_its_run_and_a_new_experiments_files_lie_beside_the_database(home, tmp_path, environment, status):
    uri = f"sqlite:///{home}/mlflow.db"
    (tmp_path / "cwd").mkdir()
    process = start(tmp_path / "cwd", "in_process", uri, **environment)
    output, _ = process.communicate()
    assert (process.returncode == 0) == (status == "FINISHED"), output
    runs = by_name(uri)
    assert {name: run.info.status for name, run in runs.items()} == {
        "two_steps": status,
        "first": "FINISHED",
        "second": status,
    }
    for run in runs.values():
        assert run.info.artifact_uri.startswith((home / "mlflow_artifacts" / "rllm").as_uri())
    assert [path.name for path in (tmp_path / "cwd").iterdir()] == ["inside"]


@pytest.mark.long
def test_the_run_of_a_killed_job_is_closed_by_the_next_run_and_that_of_a_living_one_is_not(home, tmp_path):
    uri = f"sqlite:///{home}/mlflow.db"
    process = start(tmp_path, "multiprocess", uri, WAIT="1")
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "inside").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with Tracking(uri, "rllm").run("beside"):
            pass
        # Its first step's process has ended, the job has not.
        before = by_name(uri)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert {name: before[name].info.status for name in ("two_steps", "first", "second")} == {
        "two_steps": "RUNNING",
        "first": "FINISHED",
        "second": "RUNNING",
    }
    with Tracking(uri, "rllm").run("next"):
        pass
    after = by_name(uri)
    assert {name: after[name].info.status for name in ("two_steps", "first", "second")} == {
        "two_steps": "KILLED",
        "first": "FINISHED",
        "second": "KILLED",
    }
    assert after["two_steps"].data.tags["rllm.ended_because"] == f"process {process.pid} has gone"


@pytest.mark.long
def test_where_mlflow_is_away_the_job_goes_on(tmp_path, closed_port):
    uri = f"http://127.0.0.1:{closed_port}"
    process = start(tmp_path, "in_process", uri, XDG_CACHE_HOME=str(tmp_path / "cache"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    (warning,) = [line for line in output.splitlines() if "the MLflow run of the job is left as it is" in line]
    assert f"MLflow at {uri} does not answer" in warning
    assert len(list((tmp_path / "cache").rglob("[0-9]*.jsonl"))) == 2, "both runs wait in the spool"


def test_a_job_ends_though_mlflow_went_away_meanwhile(closed_port):
    job_run = JobRun(Tracking(f"http://127.0.0.1:{closed_port}", "rllm", retry_seconds=0))
    job_run.mlflow = object()
    job_run.end_run("FAILED")
