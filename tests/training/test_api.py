"""Training from files refuses what cannot be compared before it trains."""

import asyncio
from pathlib import Path

import pytest

from rllm_assets.data.training_files import TrainingFileError, write_training_file
from rllm_assets.evaluation.compare import EvaluationError, evaluate
from rllm_assets.training.api import RLLMTrainer
from tests.training.small_runs import small_config, small_data


def files(directory: Path, val: str) -> tuple[Path, Path]:
    write_training_file(directory / "train.jsonl", small_data().train)
    (directory / "val.jsonl").write_text(val)
    return directory / "train.jsonl", directory / "val.jsonl"


@pytest.mark.parametrize(
    ("val", "told"),
    [
        ("", r"val\.jsonl holds no issue that can be used$"),
        ('{"instance_id": 3}\n', r"val\.jsonl holds no issue that can be used; the first bad row: val\.jsonl"),
    ],
)
def test_a_validation_file_without_issues_is_refused_before_training(tiny_model, tmp_path, val, told):
    trainer = RLLMTrainer(small_config(tiny_model), tmp_path / "out", allow_unsandboxed=True)
    with pytest.raises(TrainingFileError, match=told):
        asyncio.run(trainer.train(*files(tmp_path, val)))
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_named(tiny_model, tmp_path):
    trainer = RLLMTrainer(small_config(tiny_model), tmp_path / "out", allow_unsandboxed=True)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        asyncio.run(trainer.train(tmp_path / "nowhere.jsonl"))


def test_nothing_to_evaluate_on_is_an_error(tiny_model):
    with pytest.raises(EvaluationError, match="no held-out issues to evaluate on"):
        evaluate(small_config(tiny_model), [], "function", {"base": None})
