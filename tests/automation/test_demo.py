"""The demo on a tiny model: its tables, its way on, and what it says when the gate does not pass."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_benchmark import NO_TUNING, write_benchmark

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def demo(tmp_path, *arguments, **environment):
    (tmp_path / "home").mkdir()
    shutil.copy(ROOT / "deploy" / "local" / "dagster.yaml", tmp_path / "home")
    return subprocess.run(
        [sys.executable, "-m", "rllm_assets.automation.demo", "--benchmark", "tiny", *arguments],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DAGSTER_HOME": str(tmp_path / "home"),
            "RLLM_BENCHMARKS": str(tmp_path / "benchmarks"),
            "RLLM_EXECUTOR": "in_process",
            "COLUMNS": "160",
            **environment,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_a_gate_that_does_not_pass_still_shows_its_numbers(tmp_path, tiny_model):
    write_benchmark(tmp_path / "benchmarks", tiny_model, tuning=NO_TUNING, evaluation={"gate": "beats_base"})
    done = demo(tmp_path, "--seed", "3")
    assert done.returncode == 1, done.stdout
    assert "LoRA over base: +0.0 points" in done.stdout
    assert "lora_checkpoint" in done.stdout
    assert "of 25 minutes" in done.stdout
    assert "deployed_endpoint failed; the log is" in done.stdout
    assert "the LoRA does not beat its base" in done.stdout


def test_it_says_how_to_go_on(tmp_path, tiny_model):
    write_benchmark(tmp_path / "benchmarks", tiny_model)
    done = demo(tmp_path, "--select", "historical_issues")
    assert done.returncode == 0, done.stdout
    assert "historical_issues" in done.stdout
    assert f"DAGSTER_HOME={tmp_path / 'home'}" in done.stdout
    assert "mlflow ui --backend-store-uri" in " ".join(done.stdout.split())


def test_an_unknown_benchmark_is_one_line(tmp_path):
    done = demo(tmp_path)
    assert done.returncode == 1
    assert "error: unknown benchmark 'tiny'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
