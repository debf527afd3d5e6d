"""A real benchmark by path: HumanEvalFix as published, through the same graph on a tiny model."""

import shutil

import pytest
import yaml

from rllm_assets.automation.backfill import TO_THE_GATE
from tests.assets.conftest import Graph

pytestmark = pytest.mark.slow

CONFIG = {
    "model": {"lora_rank": 2, "max_prompt_tokens": 3000, "max_response_tokens": 8},
    "training": {"max_steps": 1, "batch_size": 2, "group_size": 2, "evaluation_samples": 1, "warm_start": "none"},
    "distributed": {"num_workers": 1},
    "trajectories": {"rollouts_per_issue": 0},
    "tuning": {"trials": 0},
    "evaluation": {"samples": 1, "resamples": 200, "gate": "loads_and_answers", "max_issues": 4},
}


def test_all_fixes_resolve_all_bugs_fail_and_the_graph_goes_through(test_data, tmp_path, tiny_model):
    folder = tmp_path / "benchmarks" / "humaneval_fix"
    folder.mkdir(parents=True)
    shutil.copy(test_data / "issues" / "humanevalpack_python.jsonl", folder / "humanevalpack.jsonl")
    config = {**CONFIG, "model": {**CONFIG["model"], "name": str(tiny_model)}}
    description = {"id": "humaneval_fix", "source": "humaneval_fix", "path": "humanevalpack.jsonl", "config": config}
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(description))
    graph = Graph(tmp_path, None, "humaneval_fix")
    assert graph.materialize().success
    metadata = graph.materialization("historical_issues").metadata
    # An issue is there only when its fix resolves it and its buggy code does not.
    assert (metadata["dagster/row_count"].value, metadata["quarantined"].value) == (164, 0)
    # Six suites are no plain calls; those of them on the training side could be forged, and are not trained on.
    warnings = graph.materialization("lora_checkpoint").metadata["warnings"].value
    assert "issues were left out: " in warnings
    assert "is judged in process, by tests that a candidate could forge" in warnings
    for asset in TO_THE_GATE:
        assert graph.version(asset)
