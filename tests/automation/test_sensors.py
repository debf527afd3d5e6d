"""The sensor: a new benchmark is added, observed and run once; changed, again; a wrong one is told and blocks nobody."""

import json

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from rllm_assets.automation.sensors import new_benchmarks
from rllm_assets.automation.under_way import under_way
from rllm_assets.data.benchmarks import Benchmark, BenchmarkError
from rllm_assets.data.clones import CloneError
from rllm_assets.resources.settings import Settings
from tests.tiny_benchmark import write_benchmark


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick(instance, directory, cursor=None):
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    found = new_benchmarks(context, settings=Settings(benchmarks=str(directory)))
    if isinstance(found, dg.SensorResult):
        for request in found.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
    return found


def requested(result):
    return [(request.partition_key, request.run_key) for request in result.run_requests or []]


def observed(result):
    return {(event.asset_key.to_user_string(), event.partition) for event in result.asset_events}


@pytest.fixture
def embedded(monkeypatch, tiny_model):
    """The embedded model stands in for itself: these tests are not about downloading it."""
    monkeypatch.setattr("rllm_assets.models.embedded.embedded_model", lambda: tiny_model)
    monkeypatch.setattr("rllm_assets.models.embedded.is_converted", lambda: True)


def test_the_first_tick_adds_and_runs_what_is_there(instance, tmp_path, tiny_model, embedded):
    write_benchmark(tmp_path, tiny_model)
    found = tick(instance, tmp_path)
    assert [key for key, _ in requested(found)] == ["tiny"]
    assert sorted(instance.get_dynamic_partitions("benchmarks")) == ["pocket", "tiny"]
    assert {("benchmark_source", "tiny"), ("base_model", "tiny")} <= observed(found)


def test_what_a_backfill_has_just_added_is_left_to_it(instance, tmp_path, tiny_model, embedded):
    write_benchmark(tmp_path, tiny_model)
    write_benchmark(tmp_path, tiny_model, "other")
    write_benchmark(tmp_path, tiny_model, "third")
    instance.add_dynamic_partitions("benchmarks", ["tiny", "other"])
    instance.add_run(
        dg.DagsterRun(job_name="j", tags={"dagster/partition": "tiny"}, status=dg.DagsterRunStatus.STARTED)
    )
    instance.add_backfill(
        PartitionBackfill(
            backfill_id="b",
            status=BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=0.0,
            partition_names=["other"],
        )
    )
    assert under_way(instance) == {"tiny", "other"}
    first = tick(instance, tmp_path)
    assert [key for key, _ in requested(first)] == ["third"]
    # What changes while it runs is run again.
    write_benchmark(tmp_path, tiny_model, training={"max_steps": 3})
    assert [key for key, _ in requested(tick(instance, tmp_path, first.cursor))] == ["tiny"]


def test_a_bundled_benchmark_waits_to_be_asked_for(instance, tmp_path, embedded):
    found = tick(instance, tmp_path)
    assert requested(found) == []
    assert instance.get_dynamic_partitions("benchmarks") == ["pocket"]


def test_an_unchanged_benchmark_is_not_run_again(instance, tmp_path, tiny_model, embedded):
    write_benchmark(tmp_path, tiny_model)
    first = tick(instance, tmp_path)
    again = tick(instance, tmp_path, first.cursor)
    assert isinstance(again, dg.SkipReason)
    assert again.skip_message == "2 benchmarks, none new or changed"


def test_a_changed_benchmark_runs_again_under_another_key(instance, tmp_path, tiny_model, embedded):
    write_benchmark(tmp_path, tiny_model)
    first = tick(instance, tmp_path)
    write_benchmark(tmp_path, tiny_model, training={"max_steps": 3})
    second = tick(instance, tmp_path, first.cursor)
    ((key, run_key),) = requested(second)
    assert key == "tiny"
    assert run_key != requested(first)[0][1]
    # Back to what it was is a change too: the artefacts are those of the other content.
    write_benchmark(tmp_path, tiny_model)
    ((_, third_key),) = requested(tick(instance, tmp_path, second.cursor))
    assert third_key not in (run_key, requested(first)[0][1])


def test_a_union_runs_again_when_a_member_changes(instance, tmp_path, tiny_model, embedded):
    write_benchmark(tmp_path, tiny_model)
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "benchmark.yaml").write_text("{id: all, source: union, options: {members: [tiny, pocket]}}")
    first = tick(instance, tmp_path)
    assert [key for key, _ in requested(first)] == ["all", "tiny"]
    assert isinstance(tick(instance, tmp_path, first.cursor), dg.SkipReason)
    (tmp_path / "tiny" / "issues" / "more.yaml").write_text("functions: []")
    second = tick(instance, tmp_path, first.cursor)
    assert [key for key, _ in requested(second)] == ["all", "tiny"]
    # Without its member it is reported, and blocks nobody.
    (tmp_path / "tiny" / "benchmark.yaml").unlink()
    third = tick(instance, tmp_path, second.cursor)
    assert "options.members: tiny: unknown benchmark" in third.skip_message


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), BenchmarkError("gone"), CloneError("gone")]
)
def test_a_file_that_may_not_be_read_blocks_nobody(instance, tmp_path, tiny_model, embedded, monkeypatch, error):
    write_benchmark(tmp_path, tiny_model)
    write_benchmark(tmp_path, tiny_model, "other")
    whole = Benchmark.content_hash

    def content_hash(self):
        if self.id == "other":
            raise error
        return whole(self)

    monkeypatch.setattr(Benchmark, "content_hash", content_hash)
    first = tick(instance, tmp_path)
    assert [key for key, _ in requested(first)] == ["tiny"]
    assert f"other: cannot be read: {error}" in tick(instance, tmp_path, first.cursor).skip_message


def test_a_model_that_is_not_here_is_left_to_the_run(instance, tmp_path, tiny_model, monkeypatch):
    monkeypatch.setenv("RLLM_CACHE", str(tmp_path / "empty"))
    write_benchmark(tmp_path / "benchmarks", tiny_model, model={"name": "nobody/nothing"})
    found = tick(instance, tmp_path / "benchmarks")
    assert observed(found) == {("benchmark_source", "pocket"), ("benchmark_source", "tiny")}
    assert [key for key, _ in requested(found)] == ["tiny"]


def test_the_base_model_is_the_one_that_the_deployment_sets(instance, tmp_path, tiny_model, embedded, monkeypatch):
    monkeypatch.setenv("RLLM_CONFIG", json.dumps({"model.name": str(tiny_model)}))
    found = tick(instance, tmp_path)
    (model,) = [event for event in found.asset_events if event.asset_key.to_user_string() == "base_model"]
    assert model.metadata["name"].value == str(tiny_model)


def test_an_invalid_file_is_reported_and_blocks_nobody(instance, tmp_path, tiny_model, embedded):
    write_benchmark(tmp_path, tiny_model)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "benchmark.yaml").write_text("id: [")
    first = tick(instance, tmp_path)
    assert [key for key, _ in requested(first)] == ["tiny"]
    again = tick(instance, tmp_path, first.cursor)
    assert "1 could not be read" in again.skip_message
    assert "broken/benchmark.yaml: not readable as YAML" in again.skip_message


def test_a_benchmark_that_was_broken_for_a_while_is_not_new(instance, tmp_path, tiny_model, embedded):
    write_benchmark(tmp_path, tiny_model)
    first = tick(instance, tmp_path)
    (tmp_path / "tiny" / "benchmark.yaml").write_text("id: [")
    write_benchmark(tmp_path, tiny_model, "other")
    second = tick(instance, tmp_path, first.cursor)
    assert [key for key, _ in requested(second)] == ["other"]
    write_benchmark(tmp_path, tiny_model)
    assert isinstance(tick(instance, tmp_path, second.cursor), dg.SkipReason)


def test_a_deleted_benchmark_is_no_error(instance, tmp_path, tiny_model, embedded):
    write_benchmark(tmp_path, tiny_model)
    first = tick(instance, tmp_path)
    (tmp_path / "tiny" / "benchmark.yaml").unlink()
    assert isinstance(tick(instance, tmp_path, first.cursor), dg.SkipReason)
    assert set(json.loads(first.cursor)) == {"pocket", "tiny"}


def test_no_directory_is_no_error(instance, tmp_path, embedded):
    assert isinstance(tick(instance, tmp_path / "nowhere"), dg.SensorResult)


def test_runs_end_at_the_gate():
    from rllm_assets.automation.backfill import TO_THE_GATE
    from rllm_assets.definitions import defs

    job = defs.resolve_job_def("to_the_gate")
    keys = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert keys == set(TO_THE_GATE)
