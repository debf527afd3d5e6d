"""Checkpoints: how many are kept, what damage costs, what another run's and a full disk are told."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from rllm_assets.training import update
from rllm_assets.training.checkpoints import CheckpointError
from rllm_assets.training.records import TrainingError, read_steps
from rllm_assets.training.trainer import Trainer
from rllm_assets.training.update import BadLossError
from tests.tiny import make_tiny_model
from tests.training.small_runs import FoldVerifier, RaggedVerifier, small_config, small_data, untimed

ADAPTER = "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(model, directory, **training):
    return Trainer(small_config(model, training=training), small_data(), directory, RaggedVerifier()).run()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_last_ones_and_the_best_of_each_are_kept(tiny_model, tmp_path):
    config = small_config(tiny_model, training={"max_steps": 5, "evaluate_every": 1, "keep_checkpoints": 3})
    # Steps 0, 2 and 3 are the best until then; only checkpoints 3, 4 and 5 are left, which all know step 3.
    result = Trainer(config, small_data(), tmp_path, FoldVerifier([2, 1, 3, 4, 1, 2])).run()
    assert names(tmp_path / "checkpoints") == ["step-000003", "step-000004", "step-000005"]
    assert names(tmp_path) == ["best-000003", "checkpoints", "metrics.jsonl", "rollouts.jsonl"]
    assert result.adapter == tmp_path / "best-000003"


def test_going_back_to_the_checkpoint_before_goes_back_to_its_best(tiny_model, tmp_path):
    training = {"max_steps": 4, "evaluate_every": 1, "keep_checkpoints": 2}
    config = small_config(tiny_model, training=training)
    Trainer(config, small_data(), tmp_path, FoldVerifier([0, 0, 3, 1, 5])).run()
    assert [name for name in names(tmp_path) if name.startswith("best")] == ["best-000002", "best-000004"]
    before = (tmp_path / "best-000002" / ADAPTER).read_bytes()
    (tmp_path / "checkpoints" / "step-000004" / "state.json").write_text("{")
    result = Trainer(config, small_data(), tmp_path, FoldVerifier([1])).run()
    assert result.best_step == 2
    assert (result.adapter / ADAPTER).read_bytes() == before


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "missing"])
@pytest.mark.parametrize("file", [ADAPTER, "critic.safetensors", "optimizers.pt", "state.json"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tiny_model, tmp_path_factory, tmp_path, file, damage):
    settings = {"algorithm": "ppo", "max_steps": 3}
    whole = tmp_path_factory.getbasetemp() / "whole-run"
    if not whole.exists():
        run(tiny_model, whole, **settings)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    target = tmp_path / "checkpoints" / "step-000003" / file
    content = target.read_bytes()
    middle = len(content) // 2
    target.write_bytes(
        {
            "empty": b"",
            "cut": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "missing": b"",
        }[damage]
    )
    if damage == "missing":
        target.unlink()
    seen = []
    config = small_config(tiny_model, training=settings)
    again = Trainer(config, small_data(), tmp_path, RaggedVerifier(), seen.append).run()
    assert [row["step"] for row in seen] == [3]
    for part in (ADAPTER, "critic.safetensors"):
        found, expected = (run / "checkpoints" / "step-000003" / part for run in (tmp_path, whole))
        assert found.read_bytes() == expected.read_bytes()
    assert [untimed(row) for row in again.metrics] == [untimed(row) for row in read_steps(whole / "metrics.jsonl")]


def test_where_all_are_damaged_that_is_said(tiny_model, tmp_path):
    run(tiny_model, tmp_path)
    for state in (tmp_path / "checkpoints").glob("*/state.json"):
        state.write_text('{"sta')
    with pytest.raises(
        CheckpointError, match=r"no checkpoint in .* can be read \(step-000003: .*; step-000002: .*remove"
    ):
        run(tiny_model, tmp_path)


def test_another_configuration_is_named(tiny_model, tmp_path):
    run(tiny_model, tmp_path)
    told = r"another model, configuration or data \(training\.learning_rate is 0\.002 now and was 0\.001\); remove"
    with pytest.raises(CheckpointError, match=told):
        run(tiny_model, tmp_path, learning_rate=2e-3)


def test_what_changes_no_result_may_change(tiny_model, tmp_path):
    run(tiny_model, tmp_path)
    result = run(tiny_model, tmp_path, checkpoint_every=2, keep_checkpoints=1, micro_batch_tokens=64, max_minutes=100)
    assert len(result.metrics) == 4


def test_another_model_of_the_same_shape_is_named(tiny_model, tmp_path):
    run(tiny_model, tmp_path / "run")
    other = make_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(
        CheckpointError, match=r"\(model\.name is .* now and was .*, the base model is [0-9a-f]{64} now"
    ):
        run(other, tmp_path / "run")


def test_losses_that_are_no_number_are_counted_across_a_restart(tiny_model, tmp_path, monkeypatch):
    """Two before it, and the third after it stops the run."""
    monkeypatch.setattr(update, "importance_weights", lambda old, *_: old * float("nan"))
    with pytest.raises(BadLossError, match=r"step 3: .* 3 times in a row"):
        run(tiny_model, tmp_path, max_steps=4)
    with pytest.raises(BadLossError, match=r"step 3: .* 3 times in a row"):
        run(tiny_model, tmp_path, max_steps=4)
    state = json.loads((tmp_path / "checkpoints" / "step-000002" / "state.json").read_text())["state"]
    assert state["bad_losses_in_a_row"] == 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a full disk is not tried: no file system can be mounted here ({mounted.stderr.strip()})")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_loses_nothing(tiny_model, tmp_path, small_disk):
    whole = run(tiny_model, tmp_path / "whole", max_steps=6, keep_checkpoints=2)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x")
    config = small_config(tiny_model, training={"max_steps": 6, "keep_checkpoints": 2})

    def fill(row):
        # All that is left, with the checkpoint of step 3 in place.
        if row["step"] == 4:
            ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))

    with pytest.raises(
        TrainingError, match=r"the disk of .* is full \(.*No space left.*\); nothing .* is lost: make room"
    ):
        Trainer(config, small_data(), small_disk / "run", RaggedVerifier(), fill).run()
    # Begun again without room: the same.
    with pytest.raises(TrainingError, match="is full"):
        Trainer(config, small_data(), small_disk / "run", RaggedVerifier()).run()
    ballast.unlink()
    seen = []
    resumed = Trainer(config, small_data(), small_disk / "run", RaggedVerifier(), seen.append).run()
    assert [row["step"] for row in seen] == [4, 5, 6]
    assert (resumed.adapter / ADAPTER).read_bytes() == (whole.adapter / ADAPTER).read_bytes()
    assert [untimed(row) for row in resumed.metrics] == [untimed(row) for row in whole.metrics]
