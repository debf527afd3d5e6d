"""Whether a model fits into memory, asked before minutes go into loading it."""

import json
import math
import struct
from pathlib import Path

import psutil
import torch

from rllm_assets.models.embedded import ModelError
from rllm_assets.models.found import BaseModel

_GIB = 1 << 30
_CGROUP = Path("/sys/fs/cgroup")


def check_fits(base: BaseModel, bytes_per_weight: float, device: torch.device) -> None:
    """Compare what the weights take with what `device` has left.

    Raises:
        ModelError: where they do not fit, with both numbers and what to do.
    """
    needed = count_weights(base.directory) * bytes_per_weight
    free = free_bytes(device)
    if needed > free:
        raise ModelError(
            f"{base.name} does not fit: its weights take {needed / _GIB:.1f} GiB and {device} has {free / _GIB:.1f} GiB left "
            "(a policy is loaded twice, for training and for sampling); use a smaller model.name, model.dtype and "
            "model.sampler_dtype bfloat16, or a larger machine"
        )


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
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
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
