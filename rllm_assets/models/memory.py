"""Whether a model fits into memory, asked before minutes go into loading it."""

import json
import math
import struct
from pathlib import Path

import psutil
import torch

from rllm_assets.config import ModelConfig
from rllm_assets.models.embedded import ModelError
from rllm_assets.models.found import find_model, is_here
from rllm_assets.models.hardware import resolve_dtype

_GIB = 1 << 30
_CGROUP = Path("/sys/fs/cgroup")


# Half a byte a weight, an eighth of a bit for the scales, and the embeddings as they are.
QUANTIZED_BYTES = 0.7


def check_policy_fits(config: ModelConfig, device: torch.device) -> None:
    """Compare what a policy and its sampler take with what `device` has left, before anything is downloaded or loaded.

    Raises:
        ModelError: where they do not fit.
    """
    weights = _known_weights(config.name)
    if weights is None:
        return
    quantized = config.quantization != "none"
    training = QUANTIZED_BYTES if quantized else resolve_dtype(config.dtype, device).itemsize
    # vLLM says itself whether its share of the memory is enough.
    sampling = resolve_dtype(config.sampler_dtype, device).itemsize if config.sampler == "own" else 0
    check_fits(config.name, weights, training + sampling, device)


def check_fits(name: str, weights: int, bytes_per_weight: float, device: torch.device) -> None:
    """Compare what so many weights take with what `device` has left.

    Raises:
        ModelError: where they do not fit, with both numbers and what to do.
    """
    needed, free = weights * bytes_per_weight, free_bytes(device)
    if needed > free:
        raise ModelError(
            f"{name} does not fit: its {weights / 1e9:.1f} billion weights take {needed / _GIB:.1f} GiB and {device} has "
            f"{free / _GIB:.1f} GiB left (a policy is loaded twice, for training and for sampling); use a smaller model.name, "
            "model.dtype and model.sampler_dtype bfloat16, model.quantization nf4, or a larger machine"
        )


def _known_weights(name: str) -> int | None:
    """Return the number of weights of a model by its files, or by the hub's description; None where neither tells."""
    if is_here(name):
        return count_weights(find_model(name).directory)
    from huggingface_hub import get_safetensors_metadata

    try:
        return sum(get_safetensors_metadata(name).parameter_count.values())
    # Without the hub, or of a model without safetensors, `find_model` says what is wrong. The hub's client lets errors of its
    # HTTP library through, which is another one from version to version.
    except Exception:  # noqa: BLE001
        return None


def count_weights(directory: Path) -> int:
    """Return the number of weights of a model in Hugging Face form, by the headers of its files."""
    index = directory / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [directory / name for name in names]
    else:
        files = sorted(directory.glob("*.safetensors"))
    return sum(_elements(file) for file in files)


def _elements(file: Path) -> int:
    # https://huggingface.co/docs/safetensors: eight bytes of length, then that much JSON.
    with file.open("rb") as opened:
        try:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(length))
        except (struct.error, ValueError):
            # It will not load, and what loads it says why.
            return 0
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def free_bytes(device: torch.device) -> int:
    """Return how much memory `device` has left: of the accelerator, or of this machine and this container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    limit = _number(_CGROUP / "memory.max")
    if limit is not None:
        free = min(free, limit - (_number(_CGROUP / "memory.current") or 0) + _cached_bytes())
    return free


def _cached_bytes() -> int:
    """Return what the container's count holds of files, which the kernel gives back when it is wanted."""
    try:
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("active_file ", "inactive_file ")))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    # "max" where there is no limit, nothing where there are no control groups.
    except (OSError, ValueError):
        return None
