"""Training and evaluation from the command line, without Dagster."""

import json
import subprocess
import sys

import pytest
import yaml

from rllm_assets.scripts import evaluate_rllm, train_rllm
from tests.tiny_benchmark import write_benchmark


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model):
    """What the training command leaves for a benchmark."""
    root = tmp_path_factory.mktemp("trained")
    benchmarks = write_benchmark(root / "benchmarks", tiny_model)
    command = [sys.executable, "-m", "rllm_assets.scripts.train_rllm", "--benchmark-id", "tiny"]
    command += ["--benchmarks-dir", str(benchmarks), "--output-dir", str(root / "out")]
    command += ["--epochs", "0.5", "--batch-size", "2", "--learning-rate", "5e-5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root, done.stdout


def test_a_benchmark_becomes_an_adapter_a_report_and_metrics(trained):
    root, output = trained
    assert f"adapter: {root / 'out' / 'adapter'}" in output
    assert "pass@1" in output
    rows = [json.loads(line) for line in (root / "out" / "metrics.jsonl").read_text().splitlines()]
    training_issues = len((root / "out" / "tiny" / "train.jsonl").read_text().splitlines())
    assert [row["step"] for row in rows][-1] <= training_issues // 4 + 1
    report = json.loads((root / "out" / "report.json").read_text())
    assert report["issues"] == len((root / "out" / "tiny" / "val.jsonl").read_text().splitlines())


def test_the_configuration_says_where_each_value_came_from(trained):
    root, _ = trained
    text = (root / "out" / "config.yaml").read_text()
    config = yaml.safe_load(text)
    assert config["training.batch_size"] == 2
    assert "training.learning_rate: 5.0e-05  # command line" in text
    assert "model.lora_rank: 2  # tiny/benchmark.yaml" in text
    # Epochs were asked for: the benchmark's number of steps is no limit any more.
    assert config["training.max_steps"] is None


def test_files_are_trained_on_and_compared(trained, tmp_path, tiny_model):
    root, _ = trained
    files = root / "out" / "tiny"
    flags = ["--train-path", str(files / "train.jsonl"), "--val-path", str(files / "val.jsonl")]
    flags += ["--output-dir", str(tmp_path / "out"), "--max-steps", "1", "--set", f"model.name={tiny_model}"]
    for key, value in {
        "model.lora_rank": 2,
        "model.max_prompt_tokens": 600,
        "model.max_response_tokens": 8,
        "training.batch_size": 2,
        "training.group_size": 2,
        "distributed.num_workers": 1,
        "trajectories.rollouts_per_issue": 1,
        "evaluation.samples": 1,
    }.items():
        flags += ["--set", f"{key}={value}"]
    assert train_rllm.main(flags) == 0
    metrics = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == [0, 1]
    assert (tmp_path / "out" / "report.json").is_file()


def test_an_adapter_is_compared_with_its_base(trained, tmp_path, capsys):
    root, _ = trained
    flags = ["--adapter", str(root / "out" / "adapter"), "--benchmark-id", "tiny"]
    flags += ["--benchmarks-dir", str(root / "benchmarks"), "--output", str(tmp_path / "report.json")]
    assert evaluate_rllm.main([*flags, "--set", "evaluation.samples=1"]) == 0
    again = json.loads((tmp_path / "report.json").read_text())
    first = json.loads((root / "out" / "report.json").read_text())
    assert set(again["scores"]) == set(first["scores"]) == {"base", "lora"}
    assert again["issues"] == first["issues"]
    assert "pass@1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--benchmark-id", "nope"], "unknown benchmark 'nope'"),
        (["--train-path", "missing.jsonl"], "missing.jsonl"),
        (["--benchmark-id", "pocket", "--set", "training.lerning_rate=1"], "unknown key training.lerning_rate"),
        (["--benchmark-id", "pocket", "--learning-rate", "-1"], "training.learning_rate"),
        (["--benchmark-id", "pocket", "--val-path", "val.jsonl"], "--val-path goes with --train-path"),
        (["--benchmark-id", "pocket", "--answer-format", "diff"], "--answer-format goes with --train-path"),
        (["--train-path", "train.jsonl", "--benchmarks-dir", "."], "--benchmarks-dir goes with --benchmark-id"),
        (["--benchmark-id", "pocket", "--set", "training.seed"], "--set training.seed: KEY=VALUE is expected"),
        (["--benchmark-id", "pocket", "--set", "training.seed=[1"], "--set training.seed=[1: the value is not YAML"),
        (["--benchmark-id", "pocket", "--config", "missing.yaml"], "missing.yaml: no such file"),
        (["--benchmark-id", "pocket", "--set", "model.name=/nowhere"], "'/nowhere': there is no such directory"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, flags, message):
    assert train_rllm.main([*flags, "--output-dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    last = error.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in error


def test_an_adapter_that_is_none_is_named(tmp_path, capsys):
    flags = ["--adapter", str(tmp_path / "nothing"), "--benchmark-id", "pocket"]
    assert evaluate_rllm.main(flags) == 2
    assert f"{tmp_path / 'nothing'}" in capsys.readouterr().err
