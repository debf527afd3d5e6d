import json
import logging
import math
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rllm_assets.tracking.models import adapter_hash, download_adapter, register_adapter
from rllm_assets.tracking.names import asset_tags
from rllm_assets.tracking.runs import Tracking
from tests.tracking.adapters import make_adapter

IN_ANOTHER_PROCESS = """
import sys
from rllm_assets.tracking.runs import Tracking
with Tracking(sys.argv[1], sys.argv[2], retry_seconds=0, probe_seconds=0.5).run("lora_checkpoint") as run:
    with run.child("trial-0"):
        run.log_metrics({"loss": 0.5}, step=7)
        print("inside", flush=True)
        sys.stdin.read()
"""


def start_elsewhere(tracking: Tracking) -> subprocess.Popen[str]:
    """Open a run in another process and return when it is open."""
    process = subprocess.Popen(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, tracking.uri, tracking.experiment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


class TestRuns:
    def test_a_run_ends_finished_with_its_tags_parameters_and_metrics(self, tracking, runs_of):
        tags = asset_tags("lora_checkpoint", "pocket", dagster_run_id="d1", code_version="3")
        with tracking.run("lora_checkpoint", tags, {"training": {"seed": 0}}) as run:
            run.log_metrics({"pass@1": 0.25}, step=1)
            run.log_metrics({"pass@1": 0.5, "loss": math.nan}, step=2)
            run.set_tags({"note": "first"})
        (found,) = runs_of(tracking.experiment)
        assert found.info.run_id == run.id
        assert found.info.status == "FINISHED"
        assert found.info.end_time >= found.info.start_time
        assert found.info.run_name == "lora_checkpoint"
        assert found.data.params == {"training.seed": "0"}
        assert found.data.metrics["pass_at_1"] == 0.5
        assert math.isnan(found.data.metrics["loss"])
        assert found.data.tags.items() >= {**tags, "note": "first"}.items()

    def test_the_steps_of_a_metric_are_kept(self, tracking, mlflow):
        with tracking.run("r") as run:
            for step in range(3):
                run.log_metrics({"reward": step / 2}, step)
        history = mlflow.get_metric_history(run.id, "reward")
        assert [(metric.step, metric.value) for metric in history] == [(0, 0.0), (1, 0.5), (2, 1.0)]

    def test_an_exception_leaves_the_run_failed_and_goes_on(self, tracking, runs_of):
        with pytest.raises(RuntimeError, match="no memory"), tracking.run("r") as run, run.child("trial"):
            raise RuntimeError("no memory")
        runs = runs_of(tracking.experiment)
        assert [found.info.status for found in runs] == ["FAILED", "FAILED"]
        assert runs[0].data.tags["rllm.ended_because"] == "RuntimeError: no memory"

    def test_an_interruption_leaves_the_run_killed(self, tracking, runs_of):
        with pytest.raises(KeyboardInterrupt), tracking.run("r"):
            raise KeyboardInterrupt
        assert [found.info.status for found in runs_of(tracking.experiment)] == ["KILLED"]

    def test_trials_are_nested_in_their_run(self, tracking, runs_of):
        with tracking.run("tuned_hyperparameters") as run:
            for number in range(2):
                with run.child(f"trial-{number}", config={"learning_rate": 10**-number}) as trial:
                    trial.log_metrics({"pass@1": number / 4})
            with pytest.raises(ValueError, match="bad trial"), run.child("trial-2"):
                raise ValueError("bad trial")
        parent, *trials = runs_of(tracking.experiment)
        assert [trial.data.tags["mlflow.parentRunId"] for trial in trials] == [parent.info.run_id] * 3
        assert [trial.data.metrics.get("pass_at_1") for trial in trials] == [0.0, 0.25, None]
        assert [trial.info.status for trial in trials] == ["FINISHED", "FINISHED", "FAILED"]
        assert parent.info.status == "FINISHED"

    def test_a_run_can_be_nested_in_one_that_something_else_opened(self, tracking, runs_of):
        with tracking.run("job") as job, tracking.run("asset", parent=job.id):
            pass
        assert runs_of(tracking.experiment)[1].data.tags["mlflow.parentRunId"] == job.id

    def test_runs_in_threads_do_not_mix(self, tracking, runs_of):
        all_open = threading.Barrier(4)

        def work(number: int) -> None:
            with tracking.run(f"r{number}") as run:
                all_open.wait(60)
                for step in range(5):
                    run.log_metrics({"number": number}, step)
                run.log_params({"number": number})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = {run.info.run_name: run for run in runs_of(tracking.experiment)}
        assert sorted(found) == ["r0", "r1", "r2", "r3"]
        for number in range(4):
            run = found[f"r{number}"]
            assert run.data.metrics == {"number": float(number)}
            assert run.data.params == {"number": str(number)}
            assert run.info.status == "FINISHED"

    def test_mlflows_active_run_and_address_are_left_alone(self, tracking, store, runs_of):
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
        mlflow.set_experiment(f"{tracking.experiment}-other")
        try:
            with mlflow.start_run() as active, tracking.run("ours") as run, run.child("trial"):
                assert mlflow.active_run().info.run_id == active.info.run_id
                mlflow.log_metric("theirs", 1)
                run.log_metrics({"ours": 2})
        finally:
            mlflow.set_tracking_uri(None)
        (other,) = runs_of(f"{tracking.experiment}-other")
        assert other.data.metrics == {"theirs": 1.0}
        assert [found.data.metrics for found in runs_of(tracking.experiment)] == [{"ours": 2.0}, {}]

    def test_a_parameter_cannot_change(self, tracking):
        with tracking.run("r", config={"seed": 0}) as run:
            run.log_params({"seed": 0})
            with pytest.raises(ValueError, match="'seed' of the run 'r' is '0' already, not '1'"):
                run.log_params({"seed": 1})

    def test_more_than_one_request_holds_is_logged_whole(self, tracking, runs_of):
        with tracking.run("r", config={f"p{n}": n for n in range(250)}) as run:
            run.log_metrics({f"m{n}": n for n in range(1200)})
        (found,) = runs_of(tracking.experiment)
        assert len(found.data.params) == 250
        assert len(found.data.metrics) == 1200

    def test_a_directory_is_no_address(self):
        with pytest.raises(ValueError, match="use sqlite:"):
            Tracking("file:///tmp/mlruns", "e")

    @pytest.mark.slow
    def test_two_processes_make_one_experiment(self, tracking, runs_of):
        first, second = start_elsewhere(tracking), start_elsewhere(tracking)
        first.communicate("")
        second.communicate("")
        assert [run.info.status for run in runs_of(tracking.experiment)] == ["FINISHED"] * 4


class TestFiles:
    def test_files_go_beside_the_database(self, tracking, mlflow, store, tmp_path):
        (tmp_path / "table.txt").write_text("1 2 3")
        with tracking.run("r") as run:
            run.log_artifact(tmp_path / "table.txt", "tables")
            run.log_artifacts(tmp_path, "all")
        location = Path(mlflow.get_run(run.id).info.artifact_uri.removeprefix("file://"))
        assert location.is_relative_to(store / "mlflow_artifacts" / tracking.experiment)
        assert (location / "tables" / "table.txt").read_text() == "1 2 3"
        assert (location / "all" / "table.txt").read_text() == "1 2 3"

    def test_a_figure_is_logged_as_png(self, tracking, mlflow):
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([0, 1], [0, 1])
        with tracking.run("r") as run:
            run.log_figure("pass@1", figure)
        assert [item.path for item in mlflow.list_artifacts(run.id, "plots")] == ["plots/pass_at_1.png"]

    def test_a_missing_file_is_named(self, tracking, tmp_path):
        with tracking.run("r") as run:
            with pytest.raises(FileNotFoundError, match=r"absent\.txt: no such file"):
                run.log_artifact(tmp_path / "absent.txt")
            with pytest.raises(FileNotFoundError, match="absent: no such directory"):
                run.log_artifacts(tmp_path / "absent")

    def test_a_data_set_is_logged_with_its_digest(self, tracking, mlflow):
        digest = "0123456789abcdef" * 4
        with tracking.run("r") as run:
            run.log_dataset("train_split", digest, 84, "storage/train_split/pocket", "training")
        (logged,) = mlflow.get_run(run.id).inputs.dataset_inputs
        assert (logged.dataset.name, logged.dataset.digest) == ("train_split", digest[:36])
        assert json.loads(logged.dataset.profile) == {"num_rows": 84, "data_version": digest}
        assert [(tag.key, tag.value) for tag in logged.tags] == [("mlflow.data.context", "training")]


class TestKilledProcesses:
    def test_the_runs_of_a_killed_process_are_closed_by_the_next_run(self, tracking, runs_of):
        process = start_elsewhere(tracking)
        kill(process)
        assert [run.info.status for run in runs_of(tracking.experiment)] == ["RUNNING", "RUNNING"]
        with tracking.run("next"):
            pass
        runs = runs_of(tracking.experiment)
        assert [run.info.status for run in runs] == ["KILLED", "KILLED", "FINISHED"]
        assert runs[0].data.metrics == {"loss": 0.5}
        assert runs[0].data.tags["rllm.ended_because"] == f"process {process.pid} has gone"
        assert runs[0].info.end_time is not None

    def test_the_runs_of_a_living_process_and_of_another_experiment_stay_open(self, tracking, runs_of):
        process = start_elsewhere(tracking)
        with tracking.run("next"):
            pass
        with Tracking(tracking.uri, f"{tracking.experiment}-other").run("next"):
            pass
        assert [run.info.status for run in runs_of(tracking.experiment)] == ["RUNNING", "RUNNING", "FINISHED"]
        process.communicate("")
        assert [run.info.status for run in runs_of(tracking.experiment)] == ["FINISHED"] * 3

    def test_an_interrupted_process_closes_its_runs_itself(self, tracking, runs_of):
        process = start_elsewhere(tracking)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert [run.info.status for run in runs_of(tracking.experiment)] == ["KILLED", "KILLED"]


class TestMlflowIsAway:
    @pytest.fixture
    def away(self, closed_port, tracking, tmp_path) -> Tracking:
        return Tracking(f"http://127.0.0.1:{closed_port}", tracking.experiment, tmp_path / "spool", retry_seconds=0)

    def test_work_goes_on_and_is_warned_once(self, away, caplog):
        with caplog.at_level(logging.WARNING, "rllm_assets"), away.run("r") as run:
            for step in range(3):
                run.log_metrics({"loss": 1.0}, step)
            assert run.id is None
        (warning,) = [record for record in caplog.records if record.name.startswith("rllm_assets")]
        assert away.uri in warning.message
        assert "is kept in" in warning.message

    def test_an_error_in_the_work_is_not_hidden(self, away):
        with pytest.raises(RuntimeError, match="no memory"), away.run("r"):
            raise RuntimeError("no memory")

    @pytest.mark.slow
    def test_everything_is_sent_when_it_answers_again(self, away, closed_port, serve, mlflow, runs_of, tmp_path):
        (tmp_path / "table.txt").write_text("1 2 3")
        model = f"rllm-{away.experiment}"
        with away.run("tuned_hyperparameters", {"note": "away"}, {"seed": 0}) as run:
            run.log_metrics({"pass@1": 0.25, "loss": math.nan}, 3)
            run.log_artifact(tmp_path / "table.txt", "tables")
            run.log_dataset("train_split", "d" * 64, 84, "storage")
            assert register_adapter(run, make_adapter(tmp_path / "adapter"), model) is None
            with run.child("trial-0") as trial:
                trial.log_metrics({"pass@1": 0.5})
        (tmp_path / "table.txt").unlink()
        with pytest.raises(RuntimeError), away.run("failed"):
            raise RuntimeError
        serve(closed_port)

        with away.run("next") as following:
            following.log_metrics({"pass@1": 1.0})

        runs = runs_of(away.experiment)
        assert [run.info.run_name for run in runs] == ["tuned_hyperparameters", "trial-0", "failed", "next"]
        assert [run.info.status for run in runs] == ["FINISHED", "FINISHED", "FAILED", "FINISHED"]
        first, trial, _, last = runs
        assert first.data.params == {"seed": "0"}
        assert first.data.metrics["pass_at_1"] == 0.25
        assert math.isnan(first.data.metrics["loss"])
        assert first.data.tags["note"] == "away"
        assert first.inputs.dataset_inputs[0].dataset.digest == "d" * 36
        assert trial.data.tags["mlflow.parentRunId"] == first.info.run_id
        assert first.info.start_time <= trial.info.start_time <= trial.info.end_time <= first.info.end_time
        assert last.info.run_id == following.id
        stored = tmp_path / "artifacts" / first.info.experiment_id / first.info.run_id / "artifacts/tables/table.txt"
        assert stored.read_text() == "1 2 3"
        fetched = download_adapter(away, f"{model}@challenger", tmp_path / "fetched")
        assert fetched.checkpoint_hash == adapter_hash(tmp_path / "fetched") == adapter_hash(tmp_path / "adapter")
        assert list((tmp_path / "spool").rglob("*.jsonl")) == []
        assert away.send() == 0


class TestMlflowFailsForAWhile:
    @pytest.fixture
    def hasty(self, tracking) -> Tracking:
        """The same database, waited for only briefly when it is locked."""
        return Tracking(tracking.uri, tracking.experiment, retry_seconds=0, probe_seconds=0.05)

    @contextmanager
    def locked(self, store: Path) -> Iterator[None]:
        connection = sqlite3.connect(store / "mlflow.db", isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()

    def test_what_is_logged_meanwhile_is_sent_by_the_same_run(self, hasty, store, mlflow, runs_of):
        with hasty.run("r") as run:
            run.log_metrics({"loss": 3.0}, 0)
            with self.locked(store):
                run.log_metrics({"loss": 2.0}, 1)
                run.log_params({"seed": 0})
            run.log_metrics({"loss": 1.0}, 2)
        (found,) = runs_of(hasty.experiment)
        history = mlflow.get_metric_history(run.id, "loss")
        assert [(metric.step, metric.value) for metric in history] == [(0, 3.0), (1, 2.0), (2, 1.0)]
        assert [metric.timestamp for metric in history] == sorted(metric.timestamp for metric in history)
        assert found.data.params == {"seed": "0"}
        assert found.info.status == "FINISHED"

    def test_a_run_that_ends_meanwhile_is_ended_by_the_next(self, hasty, store, runs_of):
        hasty.recover()
        with self.locked(store), hasty.run("first") as first, first.child("trial") as trial:
            trial.log_metrics({"loss": 1.0})
        assert runs_of(hasty.experiment) == []
        with hasty.run("second"):
            pass
        parent, child, second = runs_of(hasty.experiment)
        assert [run.info.run_name for run in (parent, child, second)] == ["first", "trial", "second"]
        assert [run.info.status for run in (parent, child, second)] == ["FINISHED"] * 3
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.metrics == {"loss": 1.0}

    def test_what_a_killed_process_kept_is_sent_and_its_run_closed(self, hasty, store, runs_of):
        with self.locked(store):
            process = start_elsewhere(hasty)
            kill(process)
        with hasty.run("next"):
            pass
        runs = {run.info.run_name: run for run in runs_of(hasty.experiment)}
        assert {name: run.info.status for name, run in runs.items()} == {
            "lora_checkpoint": "KILLED",
            "trial-0": "KILLED",
            "next": "FINISHED",
        }
        assert runs["lora_checkpoint"].data.metrics == {"loss": 0.5}
        assert runs["trial-0"].data.tags["rllm.ended_because"] == "the process has gone"

    def test_half_a_line_that_a_killed_process_wrote_is_left_out(self, hasty, store, runs_of, caplog):
        hasty.recover()
        with self.locked(store), hasty.run("first") as run:
            run.log_metrics({"loss": 1.0})
        (journal,) = (store / "mlflow_spool").rglob("[0-9]*.jsonl")
        lines = journal.read_text().splitlines()
        journal.write_text("\n".join([*lines[:-1], lines[-1][:20]]))
        assert hasty.send() == len(lines) - 1
        assert "not a whole entry" in caplog.text
        (found,) = runs_of(hasty.experiment)
        assert found.data.metrics == {"loss": 1.0}
        assert found.info.status == "RUNNING"

    def test_what_mlflow_refuses_is_kept_apart_and_the_work_goes_on(self, tracking, mlflow, runs_of, caplog):
        with tracking.run("r") as run:
            mlflow.delete_run(run.id)
            run.log_metrics({"loss": 1.0}, 4)
            mlflow.restore_run(run.id)
            run.log_metrics({"loss": 2.0}, 5)
        (found,) = runs_of(tracking.experiment)
        assert found.data.metrics == {"loss": 2.0}
        assert found.info.status == "FINISHED"
        (warning,) = [record.message for record in caplog.records if "refused" in record.message]
        rejected = Path(warning.rpartition(" ")[2])
        (line,) = map(json.loads, rejected.read_text().splitlines())
        assert (line["run"], line["operation"]["metrics"], line["operation"]["step"]) == ("r", {"loss": 1.0}, 4)
