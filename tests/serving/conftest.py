"""Servables small enough for tests: one of bare files, one that a model can be loaded from."""

import gzip
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from rllm_assets.serving import Servable, stop_endpoint
from rllm_assets.serving.engines import Engine, Launch

HIDDEN, INNER, RANK = 8, 12, 2


def write_servable(directory: Path, checkpoint: str, hidden: int = HIDDEN) -> Servable:
    """Write the files of a base with one linear layer and of a LoRA on it."""
    base, adapter = directory / "base", directory / "adapter"
    base.mkdir(parents=True)
    adapter.mkdir()
    (base / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 2, "pad_token_id": None}))
    (base / "tokenizer_config.json").write_text("{}")
    (base / ".hidden").write_text("not for serving")
    save_file({"model.layers.0.mlp.up_proj.weight": np.zeros((INNER, HIDDEN), np.float32)}, base / "model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": 4}))
    name = "base_model.model.model.layers.0.mlp.up_proj"
    matrices = {
        f"{name}.lora_A.weight": np.zeros((RANK, hidden), np.float32),
        f"{name}.lora_B.weight": np.zeros((INNER, RANK), np.float32),
    }
    save_file(matrices, adapter / "adapter_model.safetensors")
    return Servable(
        base_model_dir=base,
        adapter_dir=adapter,
        base_model_name="tiny",
        checkpoint_hash=checkpoint,
        lora_rank=RANK,
        lineage={"checkpoint": checkpoint, "issues": ["pocket__clamp-1"]},
    )


@pytest.fixture
def servable(tmp_path: Path) -> Callable[..., Servable]:
    """Return a function that writes a servable of bare files, by its checkpoint's hash."""
    return lambda checkpoint, **options: write_servable(tmp_path / "checkpoints" / checkpoint, checkpoint, **options)


@pytest.fixture
def fake() -> Callable[[str], Engine]:
    """Return a function that makes an engine of fake_server.py, by its behaviour."""
    script = str(Path(__file__).with_name("fake_server.py"))

    def engine(behaviour: str) -> Engine:
        return lambda model, port, _directory: Launch(
            (sys.executable, "-IS", script, str(port), model, behaviour), os.environ
        )

    return engine


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a fake API server (FakeKubernetes in fake_kubernetes.py) that KUBECONFIG points to."""
    spec = importlib.util.spec_from_file_location("fake_kubernetes", Path(__file__).with_name("fake_kubernetes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fake = module.FakeKubernetes()
    with fake.serving(tmp_path / "kubeconfig"):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield fake


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for endpoints whose processes end with the test."""
    root = tmp_path / "endpoints"
    yield root
    for home in root.glob("*"):
        stop_endpoint(root, home.name)


@pytest.fixture(scope="session")
def inference_service_crd() -> dict[str, Any]:
    """Return KServe's CustomResourceDefinition of InferenceServices, from the folder that RLLM_TEST_DATA names."""
    folder = os.environ.get("RLLM_TEST_DATA")
    if not folder:
        pytest.skip("RLLM_TEST_DATA is not set: manifests are not compared with KServe's CRD schema")
    file = Path(folder) / "crds" / "serving.kserve.io_inferenceservices.yaml.gz"
    with gzip.open(file, "rt", encoding="utf-8") as text:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
