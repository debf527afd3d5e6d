import json
import sqlite3
from pathlib import Path

import pytest

from rllm_assets.tracking.models import (
    adapter_hash,
    download_adapter,
    find_adapter,
    promote_adapter,
    register_adapter,
)
from rllm_assets.tracking.runs import Tracking
from tests.tracking.adapters import make_adapter


def content(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "adapter")


@pytest.fixture
def name(tracking: Tracking) -> str:
    """A registered model of the test's own: the registry is one for all experiments."""
    return f"rllm-{tracking.experiment}"


def test_an_adapter_is_registered_and_fetched_back_byte_by_byte(tracking, adapter, name, tmp_path, mlflow):
    with tracking.run("lora_checkpoint") as run:
        registered = register_adapter(
            run, adapter, name, params={"model": {"lora_rank": 2}}, tags={"benchmark": "pocket"}
        )
    assert registered is not None
    assert (registered.version, registered.checkpoint_hash) == (1, adapter_hash(adapter))

    fetched = download_adapter(tracking, f"{name}@challenger", tmp_path / "fetched")

    assert fetched == registered
    assert content(tmp_path / "fetched") == content(adapter)
    model = mlflow.get_logged_model(registered.model_id)
    assert model.status.value == "READY"
    assert model.params == {"model.lora_rank": "2"}
    assert model.source_run_id == run.id
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": name, "version": 1}]
    assert [output.model_id for output in mlflow.get_run(run.id).outputs.model_outputs] == [registered.model_id]
    assert mlflow.get_model_version(name, "1").tags["benchmark"] == "pocket"


def test_what_is_stored_is_no_larger_than_the_adapter(tracking, adapter, name):
    with tracking.run("lora_checkpoint") as run:
        registered = register_adapter(run, adapter, name)
    assert registered is not None
    stored = Path(registered.location.removeprefix("file://")).parent
    assert content(stored / "artifacts") == content(adapter)
    assert sum(map(len, content(stored).values())) == sum(map(len, content(adapter).values())) < 2_000


def test_the_same_content_is_registered_once(tracking, adapter, name, tmp_path, mlflow):
    again = make_adapter(tmp_path / "again")
    other = make_adapter(tmp_path / "other", seed=1)
    with tracking.run("first") as run:
        first = register_adapter(run, adapter, name)
        second = register_adapter(run, other, name)
    with tracking.run("again") as run:
        third = register_adapter(run, again, name)
    assert first is not None
    assert second is not None
    assert (first.version, second.version) == (1, 2)
    assert third == first
    assert len(mlflow.search_logged_models([mlflow.get_experiment_by_name(tracking.experiment).experiment_id])) == 2
    assert find_adapter(tracking, name, alias="challenger") == first


def test_a_given_hash_names_the_content(tracking, adapter, name):
    with tracking.run("r") as run:
        registered = register_adapter(run, adapter, name, checkpoint_hash="c0ffee", alias=None)
    assert registered is not None
    assert find_adapter(tracking, name, checkpoint_hash="c0ffee") == registered
    assert find_adapter(tracking, name, checkpoint_hash="decaf") is None
    assert find_adapter(tracking, name, alias="challenger") is None


def test_metrics_are_attached_to_the_model(tracking, adapter, name, mlflow):
    with tracking.run("lora_checkpoint") as run:
        registered = register_adapter(run, adapter, name)
    assert registered is not None
    with tracking.run("evaluation_metrics") as run:
        run.log_metrics({"pass@1": 0.5}, model_id=registered.model_id, dataset=("val_split", "v" * 64))
    (metric,) = mlflow.get_logged_model(registered.model_id).metrics
    assert (metric.key, metric.value, metric.run_id) == ("pass_at_1", 0.5, run.id)
    assert (metric.dataset_name, metric.dataset_digest) == ("val_split", "v" * 36)
    experiment = mlflow.get_experiment_by_name(tracking.experiment).experiment_id
    (better,) = mlflow.search_logged_models([experiment], "metrics.pass_at_1 > 0.3")
    assert better.model_id == registered.model_id


def test_promotion_and_rollback_move_the_champion(tracking, adapter, name, tmp_path):
    other = make_adapter(tmp_path / "other", seed=1)
    with tracking.run("r") as run:
        first = register_adapter(run, adapter, name)
        second = register_adapter(run, other, name)
        assert first is not None
        assert second is not None
        assert promote_adapter(run, name, second.checkpoint_hash) == second
        assert find_adapter(tracking, name, alias="champion") == second
        assert promote_adapter(run, name, first.checkpoint_hash) == first
        assert find_adapter(tracking, name, alias="champion") == first


def test_promoting_what_is_not_registered_changes_nothing(tracking, adapter, name, caplog):
    with tracking.run("r") as run:
        first = register_adapter(run, adapter, name, alias="champion")
        assert promote_adapter(run, name, "decaf") is None
    assert "has the checkpoint hash decaf; register the adapter first" in caplog.text
    assert find_adapter(tracking, name, alias="champion") == first


def test_an_adapter_of_a_killed_registration_is_finished_by_the_next(tracking, adapter, name, mlflow):
    tracking.recover()
    experiment = mlflow.get_experiment_by_name(tracking.experiment).experiment_id
    left = mlflow.create_logged_model(experiment, "left", tags={"rllm.checkpoint_hash": adapter_hash(adapter)})
    with tracking.run("r") as run:
        registered = register_adapter(run, adapter, name)
    assert registered is not None
    assert registered.model_id == left.model_id
    assert mlflow.get_logged_model(left.model_id).status.value == "READY"


class TestMlflowFailsForAWhile:
    @pytest.fixture
    def hasty(self, tracking: Tracking) -> Tracking:
        return Tracking(tracking.uri, tracking.experiment, retry_seconds=0, probe_seconds=0.05)

    def test_an_adapter_is_registered_later_and_moves_no_alias_back(self, hasty, adapter, name, store, tmp_path):
        late_content = content(adapter)
        with hasty.run("late") as late:
            lock = sqlite3.connect(store / "mlflow.db", isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
            assert register_adapter(late, adapter, name) is None
            hash_of_late = adapter_hash(adapter)
            # What is kept does not change with the directory it came from.
            (adapter / "adapter_config.json").write_text("{}")
            lock.execute("ROLLBACK")
            with Tracking(hasty.uri, hasty.experiment, tmp_path / "another_spool").run("sooner") as sooner:
                newer = register_adapter(sooner, make_adapter(tmp_path / "newer", seed=1), name)
            assert hasty.send() > 0
        found = find_adapter(hasty, name, checkpoint_hash=hash_of_late)
        assert found is not None
        assert (found.version, newer and newer.version) == (2, 1)
        assert find_adapter(hasty, name, alias="challenger") == newer
        download_adapter(hasty, f"{name}/2", tmp_path / "fetched")
        assert content(tmp_path / "fetched") == late_content


class TestBadInput:
    def test_a_directory_without_an_adapter_is_refused(self, tracking, tmp_path, name):
        with tracking.run("r") as run, pytest.raises(ValueError, match=r"adapter_config\.json and .* missing"):
            register_adapter(run, tmp_path, name)

    @pytest.mark.parametrize("file", ["model.safetensors", "base/model-00001-of-00002.safetensors", "base.gguf"])
    def test_base_weights_are_refused(self, tracking, adapter, name, file, mlflow):
        (adapter / file).parent.mkdir(exist_ok=True)
        (adapter / file).write_text("")
        with tracking.run("r") as run, pytest.raises(ValueError, match=f"holds base weights .{Path(file).name}"):
            register_adapter(run, adapter, name)
        assert mlflow.search_registered_models(f"name = '{name}'") == []

    @pytest.mark.parametrize("bad", ["", "a/b", "a'b", "a:b"])
    def test_a_name_that_mlflow_refuses_is_refused(self, tracking, adapter, bad):
        with tracking.run("r") as run, pytest.raises(ValueError, match="is no name for a registered model"):
            register_adapter(run, adapter, bad)

    @pytest.mark.parametrize("reference", ["NAME", "NAME@", "NAME/", "NAME/1@champion"])
    def test_a_reference_of_another_form_is_refused(self, tracking, reference, tmp_path):
        with pytest.raises(ValueError, match="write NAME@ALIAS or NAME/VERSION"):
            download_adapter(tracking, reference, tmp_path / "fetched")

    def test_a_reference_that_leads_nowhere_is_named_and_leaves_nothing(self, tracking, name, tmp_path):
        with pytest.raises(ValueError, match=name):
            download_adapter(tracking, f"{name}@champion", tmp_path / "fetched")
        assert not (tmp_path / "fetched").exists()

    def test_stored_files_that_have_changed_are_not_fetched(self, tracking, adapter, name, tmp_path):
        with tracking.run("r") as run:
            registered = register_adapter(run, adapter, name)
        assert registered is not None
        stored = Path(registered.location.removeprefix("file://")) / "adapter_model.safetensors"
        stored.write_bytes(stored.read_bytes()[:-1] + b"x")
        with pytest.raises(ValueError, match="its files have changed"):
            download_adapter(tracking, f"{name}/1", tmp_path / "fetched")
        assert not (tmp_path / "fetched").exists()
