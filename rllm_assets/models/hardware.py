"""What this machine multiplies fast."""

import ctypes
import functools

import torch

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def default_device() -> torch.device:
    """Return the accelerator of this process, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def multiplies_bfloat16(device_type: str) -> bool:
    """Tell whether `device_type` has bfloat16 matrix instructions.

    A CPU without them (AVX2, early AVX-512) emulates bfloat16 several times slower than float32.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype that a configuration's `auto`, `float32` or `bfloat16` means on `device`."""
    if name == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device.type) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next step to use.

    A step allocates and frees gigabytes on a CPU. Fresh from the system, each page of it is cleared first, which takes a
    twentieth of an update. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
