"""Old agent runs through the Python interface."""

import asyncio
import json

from rllm_assets import BenchmarkIntegration, TrajectoryIntegration, get_smollm2_config
from rllm_assets.data.benchmarks import find_benchmark
from rllm_assets.data.training_files import read_training_file
from tests.data.readers.samples import mini_11, write, write_lines
from tests.tiny_benchmark import write_benchmark


def test_runs_are_imported_with_what_reports_say(tmp_path):
    write(tmp_path / "runs" / "owner__repo-2.traj.json", mini_11())
    reports = write(tmp_path / "report.json", {"resolved_ids": ["owner__repo-2"]})
    integration = TrajectoryIntegration(get_smollm2_config())
    conversion = asyncio.run(integration.import_runs(tmp_path / "runs", tmp_path / "chat.jsonl", reports))
    assert (conversion.runs, conversion.resolved) == ({"mini-swe-agent": 1}, {"resolved": 1})
    assert json.loads((tmp_path / "chat.jsonl").read_text())["resolved"] is True


def test_a_benchmark_is_converted_with_its_old_runs(tmp_path, tiny_model):
    benchmarks = write_benchmark(tmp_path / "benchmarks", tiny_model)
    description = benchmarks / "tiny" / "benchmark.yaml"
    description.write_text(description.read_text() + "runs: {path: runs}\n")
    answers = {
        f"tiny-{n}": [
            {"role": "user", "content": "Fix it."},
            {"role": "assistant", "content": f"```python\ndef add_{n}(x):\n    return x + {n}\n```"},
        ]
        for n in range(1, 13)
    }
    write_lines(
        benchmarks / "tiny" / "runs" / "chats.jsonl",
        [{"instance_id": name, "messages": messages} for name, messages in answers.items()],
    )
    config = find_benchmark("tiny", benchmarks).resolve().config
    integration = BenchmarkIntegration(config, tmp_path / "out", benchmarks)
    converted = asyncio.run(integration.convert_existing_benchmark("tiny"))
    train, attempts, _, _ = read_training_file(converted.train_path)
    old = [attempt for attempt in attempts if attempt.kind == "historical"]
    assert {attempt.instance_id for attempt in old} == {issue.instance_id for issue in train}
    assert all(attempt.verdict.resolved and attempt.verdict_source == "verifier" for attempt in old)
    assert [attempt.messages for attempt in old] == [answers[attempt.instance_id] for attempt in old]
    summary = json.loads(converted.result_path.read_text())
    assert (summary["runs"], len(summary["runs_left_out"])) == (len(train), 12 - len(train))
    (episode, *_) = asyncio.run(TrajectoryIntegration(config).load(converted.train_path))
    assert episode.task == train[0].instance_id
