"""A folder that a server loads as one model: the base's files by link, the LoRA, and how to sample.

`transformers serve` takes a folder with a config.json and an adapter_config.json for a base with its LoRA on; a bare
adapter folder it refuses.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllm_assets.serving.records import Servable, ServingError

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

Shapes = Mapping[str, tuple[int, ...]]


def make_bundle(servable: Servable, directory: Path) -> None:
    """Make the bundle of a servable in the new folder `directory`; raise ServingError where a part is wrong."""
    check_servable(servable)
    directory.mkdir(parents=True)
    replaced = {*ADAPTER_FILES, "generation_config.json", "lineage.json"}
    for file in sorted(servable.base_model_dir.iterdir()):
        if file.is_file() and file.name not in replaced and not file.name.startswith("."):
            (directory / file.name).symlink_to(file.resolve())
    # Copied, because the checkpoint's folder is replaced by the next training while this endpoint still serves.
    for name in ADAPTER_FILES:
        shutil.copyfile(servable.adapter_dir / name, directory / name)
    _write_json(directory / "generation_config.json", _generation_config(servable.base_model_dir))
    _write_json(directory / "lineage.json", servable.lineage)


def check_servable(servable: Servable) -> None:
    """Raise ServingError unless base and LoRA are complete and belong together.

    Only the headers of the safetensors files are read: a LoRA of another base is found by the shapes of its matrices,
    before a server starts that would load it with a warning and answer as the base does.
    """
    base, adapter = servable.base_model_dir, servable.adapter_dir
    for path in (base / "config.json", base / "tokenizer_config.json", *(adapter / name for name in ADAPTER_FILES)):
        if not path.is_file():
            whose = "base model" if path.parent == base else "adapter"
            raise ServingError(f"the {whose} to be served is not complete: {path} is missing")
    config = _read_json(adapter / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise ServingError(
            f"{adapter / 'adapter_config.json'}: peft_type is {config.get('peft_type')!r}, and only LORA is served"
        )
    if config.get("r") != servable.lora_rank:
        raise ServingError(
            f"{adapter / 'adapter_config.json'}: r is {config.get('r')}, and the checkpoint says {servable.lora_rank}"
        )
    base_files = sorted(base.glob("*.safetensors"))
    if base_files:
        base_shapes = {name: shape for file in base_files for name, shape in _shapes(file).items()}
        _check_shapes(base_shapes, _shapes(adapter / "adapter_model.safetensors"), adapter, servable.base_model_name)


def _check_shapes(base: Shapes, adapter: Shapes, adapter_dir: Path, base_name: str) -> None:
    """Compare each LoRA pair (A: rank × in, B: out × rank) with the weight it is added to."""
    known = 0
    for name, a_shape in adapter.items():
        if not name.endswith(".lora_A.weight"):
            continue
        module = name.removesuffix(".lora_A.weight").removeprefix("base_model.model.")
        b_shape = adapter.get(name.replace(".lora_A.", ".lora_B."), ())
        # Some bases are saved without the outermost name (GPT-2: h.0 for transformer.h.0).
        weight = base.get(f"{module}.weight") or base.get(f"{module.partition('.')[2]}.weight")
        if weight is None or len(a_shape) != 2 or len(b_shape) != 2:
            continue
        known += 1
        # Sorted, because GPT-2 keeps its weights transposed.
        if sorted(weight) != sorted((a_shape[1], b_shape[0])):
            raise ServingError(
                f"the adapter in {adapter_dir} belongs to another base than {base_name}: {module} is "
                f"{'×'.join(map(str, weight))} there, and the adapter is made for {b_shape[0]}×{a_shape[1]}"
            )
    if known == 0:
        raise ServingError(
            f"the adapter in {adapter_dir} belongs to another base than {base_name}: it adapts none of its layers"
        )


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a safetensors file by reading its header alone: eight bytes of length, then JSON."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, size))
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        shapes = {name: tuple(entry["shape"]) for name, entry in tensors.items()}
        end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ServingError(f"{file} is no safetensors file, or a damaged one") from error
    if end != size:
        raise ServingError(f"{file} is damaged: it has {size} bytes and should have {end}")
    return shapes


def _generation_config(base: Path) -> dict[str, Any]:
    """Return the base's generation config, set to sample by temperature alone, as training and evaluation do.

    Without do_sample a request's temperature is ignored; without top_k the library's default would cut at 50.
    """
    path = base / "generation_config.json"
    if path.is_file():
        config = _read_json(path)
    else:
        tokens = _read_json(base / "config.json")
        config = {
            key: tokens[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if tokens.get(key) is not None
        }
    return {**config, "do_sample": True, "top_k": 0, "top_p": 1.0}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ServingError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ServingError(f"{path} is not a JSON object")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
