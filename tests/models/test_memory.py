"""What a model takes is known before it is loaded."""

import asyncio
import json
import re
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from rllm_assets.config import ModelConfig, get_deepcoder_config
from rllm_assets.models import memory
from rllm_assets.models.embedded import ModelError
from rllm_assets.models.policy import Policy
from rllm_assets.training.api import RLLMTrainer

CPU = torch.device("cpu")


def test_weights_are_counted_by_the_headers(tiny_model):
    policy = Policy(ModelConfig(name=str(tiny_model), dtype="float32"))
    loaded = policy._model
    adapters = sum(p.numel() for name, p in loaded.named_parameters() if "lora_" in name)
    assert memory.count_weights(tiny_model) == sum(p.numel() for p in loaded.parameters()) - adapters


def test_only_the_shards_of_the_index_count(tmp_path):
    for name in ("model-1.safetensors", "model-2.safetensors", "consolidated.safetensors"):
        save_file({"a": torch.zeros(3, 5), "b": torch.zeros(())}, tmp_path / name)
    assert memory.count_weights(tmp_path) == 48
    index = {"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors", "z": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert memory.count_weights(tmp_path) == 32


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(tiny_model, monkeypatch):
    weights = memory.count_weights(tiny_model)
    # For training in float32 and for sampling in bfloat16.
    config = ModelConfig(name=str(tiny_model), dtype="float32", sampler_dtype="bfloat16")
    monkeypatch.setattr(memory, "free_bytes", lambda _: 6 * weights - 1)
    with pytest.raises(
        ModelError, match=r"does not fit: its 0\.0 billion weights take 0\.0 GiB and cpu has 0\.0 GiB left .*nf4"
    ):
        Policy(config)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 6 * weights)
    Policy(config)
    with pytest.raises(ModelError, match="does not fit"):
        Policy(config.model_copy(update={"dtype": "float32", "sampler_dtype": "float32"}))


@pytest.mark.parametrize(
    ("changes", "needed"),
    [({}, "55.0"), ({"dtype": "float32"}, "82.5"), ({"quantization": "nf4"}, "37.1"), ({"sampler": "vllm"}, "27.5")],
)
def test_deepcoders_model_is_refused_before_it_is_downloaded(tmp_path, monkeypatch, changes, needed):
    def no_download(*_, **__):
        pytest.fail("nothing is to be downloaded")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_download)
    monkeypatch.setattr(memory, "is_here", lambda _: False)
    described = SimpleNamespace(parameter_count={"BF16": 14_770_033_664})
    monkeypatch.setattr("huggingface_hub.get_safetensors_metadata", lambda _: described)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 24 << 30)
    config = get_deepcoder_config()
    config = config.model_copy(update={"model": config.model.model_copy(update=changes)})
    with pytest.raises(
        ModelError,
        match=rf"Qwen-14B does not fit: its 14\.8 billion weights take {re.escape(needed)} GiB and \w+ has 24\.0 GiB left",
    ):
        asyncio.run(RLLMTrainer(config, tmp_path).train(tmp_path / "train.jsonl"))


def test_a_container_has_what_its_limit_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    whole = memory.free_bytes(CPU)
    assert whole > 1 << 28
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(CPU) > 1 << 28
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("300\n")
    assert memory.free_bytes(CPU) == 700
    (tmp_path / "memory.stat").write_text("anon 80\nactive_file 20\ninactive_file 100\nslab 5\n")
    assert memory.free_bytes(CPU) == 820
