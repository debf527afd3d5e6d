"""The demo on a tiny model: its tables, its way on, and what it says when the gate does not pass."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest

from tests.tiny_benchmark import NO_TUNING, write_benchmark

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def start(tmp_path, *arguments, preexec_fn=None):
    (tmp_path / "home").mkdir()
    shutil.copy(ROOT / "deploy" / "local" / "dagster.yaml", tmp_path / "home")
    return subprocess.Popen(
        [sys.executable, "-m", "rllm_assets.automation.demo", "--benchmark", "tiny", *arguments],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DAGSTER_HOME": str(tmp_path / "home"),
            "RLLM_BENCHMARKS": str(tmp_path / "benchmarks"),
            "RLLM_EXECUTOR": "in_process",
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "160",
        },
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=preexec_fn,  # noqa: PLW1509
    )


def heed_signals():
    """Undo what `nohup` and a shell without job control do to the tests; Dagster then lets SIGTERM be ignored like SIGINT."""
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


def heed_all_but_interrupts():
    heed_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def demo(tmp_path, *arguments):
    with start(tmp_path, *arguments) as process:
        output, _ = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output)


@pytest.mark.long
def test_a_gate_that_does_not_pass_still_shows_its_numbers(tmp_path, tiny_model):
    write_benchmark(tmp_path / "benchmarks", tiny_model, tuning=NO_TUNING, evaluation={"gate": "beats_base"})
    done = demo(tmp_path, "--seed", "3")
    assert done.returncode == 1, done.stdout
    assert "LoRA over base: +0.0 points" in done.stdout
    assert "lora_checkpoint" in done.stdout
    assert "minutes, the budget is 25" in done.stdout
    assert "deployed_endpoint failed; the log is" in done.stdout
    assert "the LoRA does not beat its base" in done.stdout


def test_it_says_how_to_go_on(tmp_path, tiny_model):
    write_benchmark(tmp_path / "benchmarks", tiny_model)
    done = demo(tmp_path, "--select", "historical_issues")
    assert done.returncode == 0, done.stdout
    assert "historical_issues: started" in done.stdout
    assert re.search(r"^historical_issues: done in \d+ s, budget 20 s$", done.stdout, re.MULTILINE), done.stdout
    assert f"DAGSTER_HOME={tmp_path / 'home'}" in done.stdout
    assert "mlflow ui --backend-store-uri" in " ".join(done.stdout.split())


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_can_be_stopped_and_leaves_nothing_running(tmp_path, tiny_model, how):
    write_benchmark(tmp_path / "benchmarks", tiny_model)
    with start(tmp_path, "--select", "historical_issues,trajectories", preexec_fn=heed_signals) as process:
        while "started" not in (line := process.stdout.readline()):
            assert line, "it ended before a step began"
        process.send_signal(how)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "stopped; training goes on from its last checkpoint" in rest
    assert "Traceback" not in rest
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        (run,) = instance.get_runs()
        assert run.is_finished
        assert instance.event_log_storage.get_concurrency_run_ids() == set()
    homes = [f"DAGSTER_HOME={tmp_path / 'home'}" in environment(child) for child in psutil.process_iter()]
    assert not any(homes)


def environment(process):
    try:
        return [f"{name}={value}" for name, value in process.environ().items()]
    except psutil.Error:
        return []


@pytest.mark.long
def test_it_can_be_stopped_where_a_script_started_it_in_the_background(tmp_path, tiny_model):
    write_benchmark(tmp_path / "benchmarks", tiny_model)
    # Such a shell ignores SIGINT for what it starts with `&`, and so does all that this starts.
    with start(tmp_path, "--select", "historical_issues,trajectories", preexec_fn=heed_all_but_interrupts) as process:
        while "started" not in (line := process.stdout.readline()):
            assert line, "it ended before a step began"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "stopped; training goes on from its last checkpoint" in rest


def test_an_unknown_benchmark_is_one_line(tmp_path):
    done = demo(tmp_path)
    assert done.returncode == 1
    assert "error: unknown benchmark 'tiny'" in done.stdout
    assert "Traceback" not in done.stdout
