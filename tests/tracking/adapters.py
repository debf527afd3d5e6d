"""A tiny adapter directory, as the trainer writes one."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def make_adapter(directory: Path, seed: int = 0) -> Path:
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    generator = np.random.default_rng(seed)
    weights = {name: generator.normal(size=(2, 8)).astype("float32") for name in ("lora_A.weight", "lora_B.weight")}
    save_file(weights, directory / "adapter_model.safetensors")
    (directory / "lineage.json").write_text(json.dumps({"created_at": str(directory)}))
    return directory
