"""The graph with every step a job on a local Ray cluster."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from rllm_assets.automation.backfill import TO_THE_GATE, register
from rllm_assets.data.benchmarks import find_benchmark
from tests.tiny_benchmark import NO_TUNING, write_benchmark

# Not of the group that shares one Ray: this one is its own, beside which the other worker can go on.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("ray_executor")]
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


@pytest.fixture
def environment(tmp_path, tiny_model):
    (tmp_path / "home").mkdir()
    shutil.copy(ROOT / "deploy" / "local" / "dagster.yaml", tmp_path / "home")
    write_benchmark(tmp_path / "benchmarks", tiny_model, tuning=NO_TUNING)
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "DAGSTER_HOME": str(tmp_path / "home"),
        "RLLM_BENCHMARKS": str(tmp_path / "benchmarks"),
        "RLLM_EXECUTOR": "ray",
        "RLLM_STEP_MEMORY": "0.5",
    }


def wait_for_agent(address):
    """Jobs are taken by the node's agent, which comes up some time after Ray says that it has started."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(address)
    deadline = time.monotonic() + 240
    while True:
        try:
            client.submit_job(entrypoint="true")
            return
        except RuntimeError:
            assert time.monotonic() < deadline, "no agent takes jobs"
            time.sleep(0.5)


@pytest.fixture
def cluster(environment):
    """A Ray of our own with its dashboard, where jobs are submitted, and the environment to reach it."""
    gcs, dashboard, client, agent = free_ports(4)
    start = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", f"--port={gcs}", "--dashboard-host=127.0.0.1"]
    start += [f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", "--include-dashboard=true"]
    # Where jobs are taken, on a port that another Ray of this machine has by default.
    start += [f"--dashboard-agent-listen-port={agent}"]
    start += ["--disable-usage-stats", "--node-ip-address=127.0.0.1"]
    process = subprocess.Popen(
        [str(part) for part in start], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        if not any("Ray runtime started" in line for line in process.stdout):
            pytest.fail("Ray did not start")
        address = f"http://127.0.0.1:{dashboard}"
        wait_for_agent(address)
        yield {**environment, "RAY_ADDRESS": address}
    finally:
        process.terminate()
        process.wait(60)


def test_the_whole_graph_runs_as_ray_jobs(cluster, tmp_path):
    with dg.DagsterInstance.from_config(cluster["DAGSTER_HOME"]) as instance:
        register(instance, [find_benchmark("tiny", tmp_path / "benchmarks")])
        command = [str(BIN / "dagster"), "asset", "materialize", "-m", "rllm_assets.definitions", "--partition", "tiny"]
        command += ["--select", ",".join(TO_THE_GATE)]
        done = subprocess.run(command, env=cluster, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        (run,) = instance.get_runs()
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTING)
        started = {event.dagster_event.step_key for event in events}
        assert {"historical_issues", "trajectories", "tuned_hyperparameters", "lora_checkpoint"} <= started
        assert all("Ray job" in (event.dagster_event.message or "") for event in events)
    assert (Path(cluster["DAGSTER_HOME"]) / "rllm" / "evaluation_metrics" / "tiny" / "report.json").is_file()
