"""The whole graph in process: every asset real, each with what the UI shows and what lineage needs."""

import importlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys

import dagster as dg
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from rllm_assets.automation.backfill import TO_THE_GATE
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.automation.sources import observe_benchmark
from rllm_assets.data.benchmarks import find_benchmark
from rllm_assets.data.tables import attempts_from_table, issues_from_table
from rllm_assets.definitions import defs
from rllm_assets.resources.artefacts import Artefacts
from rllm_assets.serving import ServingError, stop_endpoint
from rllm_assets.tracking.ancestry import dependence, verify
from rllm_assets.tracking.lineage import read_lineage
from tests.assets.failures import failure_of

ASSETS = [*TO_THE_GATE, "deployed_endpoint"]


def specs():
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_every_asset_says_what_it_is():
    assert set(specs()) == {"benchmark_source", "base_model", *ASSETS}
    for name, spec in specs().items():
        assert spec.description, name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.group_name, name
        assert name in ("benchmark_source", "base_model") or spec.code_version, name
        assert spec.partitions_def == benchmarks, name


def test_the_story_is_told_by_the_edges():
    edges = {(dep.asset_key.to_user_string(), name) for name, spec in specs().items() for dep in spec.deps}
    assert edges == {
        ("benchmark_source", "historical_issues"),
        ("historical_issues", "trajectories"),
        ("base_model", "trajectories"),
        ("benchmark_source", "trajectories"),
        ("historical_issues", "train_split"),
        ("trajectories", "train_split"),
        ("historical_issues", "val_split"),
        ("trajectories", "val_split"),
        ("historical_issues", "test_split"),
        ("trajectories", "test_split"),
        ("train_split", "tuned_hyperparameters"),
        ("trajectories", "tuned_hyperparameters"),
        ("base_model", "tuned_hyperparameters"),
        ("train_split", "lora_checkpoint"),
        ("trajectories", "lora_checkpoint"),
        ("tuned_hyperparameters", "lora_checkpoint"),
        ("base_model", "lora_checkpoint"),
        ("lora_checkpoint", "evaluation_metrics"),
        ("val_split", "evaluation_metrics"),
        ("train_split", "evaluation_metrics"),
        ("trajectories", "evaluation_metrics"),
        ("base_model", "evaluation_metrics"),
        ("evaluation_metrics", "deployed_endpoint"),
        ("lora_checkpoint", "deployed_endpoint"),
        ("base_model", "deployed_endpoint"),
    }


@pytest.mark.slow
class TestFinished:
    def test_issues_are_read_and_verified(self, finished_graph):
        metadata = finished_graph.materialization("historical_issues").metadata
        assert metadata["dagster/row_count"].value == 12
        assert metadata["quarantined"].value == 0
        assert metadata["sandbox_grade"].value == "strong"

    def test_every_issue_has_its_fix_and_its_rollouts(self, finished_graph):
        table = pq.read_table(finished_graph.artefacts.path("trajectories", "tiny") / "trajectories.parquet")
        attempts = attempts_from_table(table)
        train = pq.read_table(finished_graph.artefacts.path("train_split", "tiny") / "issues.parquet")
        trained = set(train.column("instance_id").to_pylist())
        assert len({a.instance_id for a in attempts if a.kind == "gold"}) == 12
        # What is held out is not read before it is evaluated on.
        assert {a.instance_id for a in attempts if a.kind == "rollout"} == trained
        assert all(a.verdict.status == "resolved" and a.reward == 1.0 for a in attempts if a.kind == "gold")
        assert all(a.verdict.sandbox_grade == "strong" for a in attempts)

    def test_no_function_is_on_both_sides(self, finished_graph):
        train, val = (
            issues_from_table(pq.read_table(finished_graph.artefacts.path(name, "tiny") / "issues.parquet"))
            for name in ("train_split", "val_split")
        )
        assert len(train) + len(val) == 12
        assert not {i.group for i in train} & {i.group for i in val}

    def test_the_checkpoint_is_a_peft_adapter_with_its_configuration(self, finished_graph, tiny_model):
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        directory = finished_graph.artefacts.path("lora_checkpoint", "tiny")
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), directory / "adapter")
        config = yaml.safe_load((directory / "config.yaml").read_text())
        assert config["training.max_steps"] == 2
        assert "training.max_steps: 2  # tiny/benchmark.yaml" in (directory / "config.yaml").read_text()
        metrics = pd.read_parquet(directory / "metrics.parquet")
        assert metrics["step"].tolist() == [0, 1, 2]
        assert metrics["reward"].iloc[1:].notna().all()

    def test_the_report_compares_on_held_out_issues(self, finished_graph):
        directory = finished_graph.artefacts.path("evaluation_metrics", "tiny")
        report = json.loads((directory / "report.json").read_text())
        val = pq.read_table(finished_graph.artefacts.path("val_split", "tiny") / "issues.parquet")
        assert report["issues"] == val.num_rows
        assert set(report["scores"]) == {"base", "warm_start", "lora"}
        rows = pd.read_parquet(directory / "results.parquet")
        assert set(rows["instance_id"]) == set(val.column("instance_id").to_pylist())
        assert json.loads((directory / "gate.json").read_text())["passed"] is True

    def test_pictures_are_png_in_the_metadata(self, finished_graph):
        for asset, names in {
            "trajectories": ["solve_rates", "rewards"],
            "lora_checkpoint": ["reward_over_steps", "rewards"],
            "evaluation_metrics": ["pass_at_1", "groups"],
        }.items():
            for name in names:
                text = finished_graph.materialization(asset).metadata[name].value
                assert "](data:image/png;base64,iVBORw0KGgo" in text

    def test_the_tables_have_the_schema_that_is_shown(self, finished_graph):
        for asset, file in {
            "historical_issues": "issues",
            "trajectories": "trajectories",
            "train_split": "issues",
            "val_split": "issues",
            "test_split": "issues",
            "evaluation_metrics": "results",
        }.items():
            shown = specs()[asset].metadata["dagster/column_schema"]
            table = pq.read_table(finished_graph.artefacts.path(asset, "tiny") / f"{file}.parquet")
            # Parquet has a name of its own for what is in a list.
            stored = [(field.name, str(field.type).replace("element: ", "item: ")) for field in table.schema]
            assert [(column.name, column.type) for column in shown.columns] == stored
            assert finished_graph.materialization(asset).metadata["dagster/row_count"].value == table.num_rows

    def test_nothing_is_left_of_the_work(self, finished_graph):
        work = finished_graph.root / "storage" / "work"
        assert [path for path in work.rglob("*") if path.is_file()] == []

    def test_every_check_ran_and_passed(self, finished_graph):
        for check in defs.resolve_asset_graph().asset_check_keys:
            record = finished_graph.instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
            evaluation = record.event.dagster_event.event_specific_data
            assert evaluation.passed, check
        assert len(defs.resolve_asset_graph().asset_check_keys) == 10

    def test_data_versions_are_hashes_and_reach_downstream(self, finished_graph):
        for asset in TO_THE_GATE:
            tags = finished_graph.materialization(asset).tags
            assert len(tags["dagster/data_version"]) == 64
        tags = finished_graph.materialization("historical_issues").tags
        assert tags["dagster/input_data_version/benchmark_source"] not in ("INITIAL", "")
        # The model was observed before the run, and not again.
        (seen,) = finished_graph.instance.fetch_observations(dg.AssetKey("base_model"), limit=9).records
        assert seen.asset_observation.partition == "tiny"
        tags = finished_graph.materialization("trajectories").tags
        assert tags["dagster/input_event_pointer/base_model"] == str(seen.storage_id)

    def test_nothing_is_stale_when_it_is_done(self, finished_graph):
        assert finished_graph.stale(*TO_THE_GATE) == {}

    def test_lineage_leads_from_the_evaluation_to_every_issue(self, finished_graph):
        directory = finished_graph.artefacts.path("evaluation_metrics", "tiny")
        lineage = read_lineage(directory)
        ancestors = {record.asset for record in lineage.ancestors.values()}
        assert ancestors == set(TO_THE_GATE) - {"test_split", "evaluation_metrics"}
        assert not [finding for finding in verify(directory) if finding.broken]
        assert dependence(directory, "tiny-1").depends
        checkpoint = finished_graph.artefacts.path("lora_checkpoint", "tiny")
        held_out = pq.read_table(finished_graph.artefacts.path("val_split", "tiny") / "issues.parquet")
        trained = pq.read_table(finished_graph.artefacts.path("train_split", "tiny") / "issues.parquet")
        assert dependence(checkpoint, trained.column("instance_id")[0].as_py()).depends
        assert held_out.num_rows

    def test_mlflow_has_a_finished_run_for_each_heavy_asset(self, finished_graph):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{finished_graph.root / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("rllm")
        runs = client.search_runs([experiment.experiment_id])
        assert {run.info.status for run in runs} == {"FINISHED"}
        heavy = {run.data.tags.get("dagster.asset_key") for run in runs} - {None}
        assert heavy == {"trajectories", "tuned_hyperparameters", "lora_checkpoint", "evaluation_metrics"}
        assert any("mlflow.parentRunId" in run.data.tags for run in runs), "trials are nested"
        (version,) = client.search_model_versions("name = 'rllm-tiny'")
        assert version

    def test_the_same_input_gives_the_same_versions(self, finished_graph, tmp_path, tiny_model):
        from tests.assets.conftest import Graph

        again = Graph(tmp_path, tiny_model)
        assets = ("historical_issues", "trajectories", "train_split", "val_split", "test_split")
        assert again.materialize(*assets).success
        for asset in assets:
            assert again.version(asset) == finished_graph.version(asset)


@pytest.mark.slow
@pytest.mark.long
def test_run_config_for_a_resource_that_does_not_exist_is_an_error(tmp_path):
    # Only the job of `dagster asset materialize` takes any resource.
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "rllm_assets.definitions"]
    command += ["--select", "historical_issues", "--partition", "pocket"]
    command += ["--config-json", '{"resources": {"setings": {"config": {"overrides": {"training.seed": 1}}}}}']
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.add_dynamic_partitions("benchmarks", ["pocket"])
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "RLLM_EXECUTOR": "in_process"}
    (tmp_path / "dagster.yaml").touch()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "resources.setings: there is no such resource; did you mean settings?" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_base_model_that_the_run_saw_first_makes_nothing_stale_until_it_changes(make_graph):
    graph = make_graph()
    # As a sensor leaves it where the model would have to be downloaded.
    graph.instance = dg.DagsterInstance.ephemeral()
    graph.instance.add_dynamic_partitions("benchmarks", ["tiny", "other"])
    benchmark = find_benchmark("tiny", graph.benchmarks)
    graph.instance.report_runless_asset_event(observe_benchmark(benchmark))
    assert graph.materialize("historical_issues", "trajectories").success
    assert graph.stale("historical_issues", "trajectories") == {}
    for partition, stale in (("other", {}), ("tiny", {"trajectories": "base_model has a new data version"})):
        changed = dg.AssetObservation("base_model", partition=partition, tags={"dagster/data_version": "another"})
        graph.instance.report_runless_asset_event(changed)
        assert graph.stale("historical_issues", "trajectories") == stale


@pytest.mark.slow
def test_a_fix_that_does_not_resolve_is_quarantined(make_graph):
    graph = make_graph()
    path = graph.benchmarks / "tiny" / "issues" / "sums.yaml"
    broken = yaml.safe_load(path.read_text())
    broken["functions"][0]["cases"][0]["returns"] = 99
    broken["functions"].append("half a row")
    path.write_text(yaml.safe_dump(broken))
    assert graph.materialize("historical_issues").success
    metadata = graph.materialization("historical_issues").metadata
    assert (metadata["dagster/row_count"].value, metadata["quarantined"].value) == (11, 2)
    assert "tiny-1: the fix does not resolve it" in metadata["quarantine"].value
    assert "functions.12: a mapping is expected" in metadata["quarantine"].value


@pytest.mark.slow
class TestDeployment:
    """On a copy of what the finished graph left."""

    @pytest.fixture
    def graph(self, finished_graph, tmp_path, monkeypatch):
        storage = tmp_path / "storage"
        shutil.copytree(finished_graph.artefacts.root, storage)
        monkeypatch.setenv("RLLM_ENDPOINTS", str(tmp_path / "endpoints"))
        monkeypatch.setattr(finished_graph, "artefacts", Artefacts(root=str(storage)))
        yield finished_graph
        stop_endpoint(tmp_path / "endpoints", "rllm-tiny")

    def ask(self, url):
        import openai

        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        answer = client.chat.completions.create(
            model="rllm-tiny", messages=[{"role": "user", "content": "hello"}], max_tokens=4
        )
        return answer.choices[0].message

    def test_it_refuses_without_its_gate_and_is_replaced_with_it(self, graph, tmp_path):
        gate = graph.artefacts.path("evaluation_metrics", "tiny") / "gate.json"
        passed = gate.read_text()
        gate.write_text(json.dumps({**json.loads(passed), "passed": False, "reasons": ["the LoRA is no better"]}))
        message, _ = failure_of(graph.materialize("deployed_endpoint", raise_on_error=False))
        assert "tiny: not deployed, the gate has not passed: the LoRA is no better" in message
        assert not (tmp_path / "endpoints").exists()

        gate.write_text(passed)
        assert graph.materialize("deployed_endpoint").success
        url = graph.materialization("deployed_endpoint").metadata["url"].value
        assert self.ask(url).role == "assistant"
        directory = graph.artefacts.path("deployed_endpoint", "tiny")
        lineage = read_lineage(directory)
        assert {record.asset for record in lineage.ancestors.values()} == set(TO_THE_GATE) - {"test_split"}
        assert dependence(directory, "tiny-1").depends
        asked = subprocess.run(["bash", str(directory / "curl.sh")], capture_output=True, text=True, check=True)
        assert json.loads(asked.stdout)["choices"][0]["message"]["role"] == "assistant"

        gate.write_text(json.dumps({**json.loads(passed), "passed": False, "reasons": ["the LoRA is no better"]}))
        assert not graph.materialize("deployed_endpoint", raise_on_error=False).success
        assert self.ask(url).role == "assistant", "what it served still serves"

        gate.write_text(passed)
        assert graph.materialize("deployed_endpoint").success
        assert graph.materialization("deployed_endpoint").metadata["url"].value == url

    def test_a_lora_of_another_shape_is_evaluated_and_served_as_it_was_trained(self, graph, monkeypatch):
        overrides = {"model.lora_rank": 3, "model.lora_alpha": 5.0, "model.lora_targets": ["q_proj", "v_proj"]}
        assert graph.materialize("lora_checkpoint", overrides=overrides).success
        assert graph.materialize("evaluation_metrics").success
        config = read_lineage(graph.artefacts.path("evaluation_metrics", "tiny")).config["model"]
        trained = json.loads(
            (graph.artefacts.path("lora_checkpoint", "tiny") / "adapter/adapter_config.json").read_text()
        )
        for ours, peft in {"lora_rank": "r", "lora_alpha": "lora_alpha", "lora_targets": "target_modules"}.items():
            assert config[ours] == trained[peft] == overrides[f"model.{ours}"]

        def deploy(servable, *_):
            raise ServingError(f"rank {servable.lora_rank} on {servable.base_model_name}")

        monkeypatch.setattr(importlib.import_module("rllm_assets.assets.deployed_endpoint"), "deploy", deploy)
        message, _ = failure_of(graph.materialize("deployed_endpoint", raise_on_error=False))
        assert message.strip().endswith(f"tiny: rank 3 on {config['name']}")

    def test_a_port_in_use_is_named(self, graph):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            failed = graph.materialize("deployed_endpoint", overrides={"serving.port": port}, raise_on_error=False)
        assert str(port) in failure_of(failed)[0]


def test_each_benchmark_has_an_endpoint_of_its_own():
    name = importlib.import_module("rllm_assets.assets.deployed_endpoint")._name
    assert name("rllm", "pocket") == "rllm-pocket"
    assert name("rllm", "a-b") == "rllm-a-b"
    names = {name("rllm", partition) for partition in ("a-b", "a_b", "a-b-c", "a_b-c", "a-b_c", "a_b_c")}
    assert len(names) == 6
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{0,39}", found) for found in names)
    with pytest.raises(dg.Failure, match=r"longer than 40 characters; set a shorter serving\.name"):
        name("rllm", "a" * 36)
