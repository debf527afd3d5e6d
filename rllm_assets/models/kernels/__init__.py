"""Kernels in C++ for a CPU in bfloat16: what lies between matrix products, each step of it reading its input once.

They are built where there is a C++ compiler when the package is installed. Where they are not, on other hardware and in other
dtypes, `are_usable` is false and callers do the same with torch.
"""

import ctypes
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

# Positions for which keys lie together, and numbers of a head that values are taken by.
TILE, HEAD = 32, 64
# Numbers that are taken at a time.
STEP = 32

# Of each function how many addresses, integers and floats it takes, in this order.
_ARGUMENTS = {
    "rms_norm": (4, 2, 1),
    "rms_norm_backward": (5, 2, 0),
    "silu_gated": (3, 4, 0),
    "silu_gated_backward": (5, 1, 0),
    "rotate": (4, 5, 0),
    "attend": (12, 11, 1),
    "causal_softmax": (2, 4, 1),
    "causal_softmax_backward": (2, 2, 1),
    "online_softmax": (5, 2, 1),
}


@cache
def _library() -> ctypes.CDLL | None:
    spec = find_spec(f"{__name__}.compiled")
    if spec is None or spec.origin is None or sys.byteorder != "little":
        return None
    library = ctypes.CDLL(spec.origin)
    for name, (pointers, integers, floats) in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * integers + [ctypes.c_float] * floats
        function.restype = None
    return library


def are_usable(dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether tensors like these can be given to a kernel."""
    return dtype == torch.bfloat16 and device.type == "cpu" and _library() is not None


def _call(name: str, *arguments: Any) -> None:
    """Call a kernel; tensors are given by their address."""
    given = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    getattr(_library(), name)(*given)


def _whole_rows(x: Tensor) -> Tensor:
    """Return the same where the numbers of a row lie together, however far rows are apart, and a copy where they do not."""
    return x if x[0].is_contiguous() else x.contiguous()


def rms_norm(x_NW: Tensor, weight_W: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return ``x / sqrt(mean(x²) + epsilon) · weight``, and what each row was multiplied with.

    Args:
        x_NW: the rows.
        weight_W: of the width's entries.
        epsilon: keeps the root from 0.
    """
    x_NW, weight_W = x_NW.contiguous(), weight_W.to(x_NW.dtype)
    rows, width = x_NW.shape
    out, inverse_N = torch.empty_like(x_NW), torch.empty(rows)
    _call("rms_norm", x_NW, weight_W, out, inverse_N, rows, width, epsilon)
    return out, inverse_N


def rms_norm_backward(x_NW: Tensor, weight_W: Tensor, inverse_N: Tensor, grad_NW: Tensor) -> Tensor:
    """Return the gradient of `rms_norm` by x."""
    x_NW, grad_NW, weight_W = x_NW.contiguous(), grad_NW.contiguous(), weight_W.to(x_NW.dtype)
    rows, width = x_NW.shape
    out = torch.empty_like(x_NW)
    _call("rms_norm_backward", x_NW, weight_W, inverse_N, grad_NW, out, rows, width)
    return out


def silu_gated(gate_NI: Tensor, up_NI: Tensor) -> Tensor:
    """Return ``silu(gate) · up``."""
    gate_NI, up_NI = _whole_rows(gate_NI), _whole_rows(up_NI)
    rows, width = gate_NI.shape
    out = gate_NI.new_empty((rows, width))
    _call("silu_gated", gate_NI, up_NI, out, rows, width, gate_NI.stride(0), up_NI.stride(0))
    return out


def silu_gated_backward(gate_NI: Tensor, up_NI: Tensor, grad_NI: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of `silu_gated` by gate and up."""
    gate_NI, up_NI, grad_NI = gate_NI.contiguous(), up_NI.contiguous(), grad_NI.contiguous()
    grad_gate, grad_up = torch.empty_like(gate_NI), torch.empty_like(up_NI)
    _call("silu_gated_backward", gate_NI, up_NI, grad_NI, grad_gate, grad_up, gate_NI.numel())
    return grad_gate, grad_up


def rotate(x_NHD: Tensor, cos_ND: Tensor, sin_ND: Tensor, *, back: bool = False) -> Tensor:
    """Return rotary embeddings of heads (arXiv 2104.09864), or turn them back, as their gradient is."""
    x_NHD, cos_ND, sin_ND = _whole_rows(x_NHD), cos_ND.contiguous(), sin_ND.contiguous()
    out = x_NHD.new_empty(x_NHD.shape)
    _call("rotate", x_NHD, cos_ND, sin_ND, out, *x_NHD.shape, x_NHD.stride(0), int(back))
    return out


def attend(
    q_NHD: Tensor,
    k_NKD: Tensor,
    v_NKD: Tensor,
    prompt: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    lengths_G: Tensor,
    group_N: Tensor,
    slot_N: Tensor,
    step: int,
    scale: float,
) -> Tensor:
    """Write a new position of each row into the cache and return its attention to prompt and own positions, N × H × D.

    Args:
        q_NHD: queries.
        k_NKD: keys of the new position.
        v_NKD: values of the new position.
        prompt: keys, G × K × tiles × D/2 × TILE × 2, and values, G × K × pairs of positions × D × 2, of the prompts.
        own: the same of each slot of a group behind its prompt, G × K × S × ...; it is written to.
        lengths_G: of the prompts.
        group_N: of each row.
        slot_N: of each row in its group.
        step: the new position.
        scale: of the scores.
    """
    q_NHD, k_NKD, v_NKD = map(_whole_rows, (q_NHD, k_NKD, v_NKD))
    rows, heads, size = q_NHD.shape
    key_heads, slots = own[1].shape[1:3]
    capacities = 2 * prompt[1].shape[2], 2 * own[1].shape[3]
    out = q_NHD.new_empty(q_NHD.shape)
    scratch = torch.empty(heads // key_heads * (sum(capacities) + 2 * size + 1))
    strides = q_NHD.stride(0), k_NKD.stride(0), v_NKD.stride(0)
    shape = rows, heads, key_heads, size, slots, *capacities
    _call(
        "attend",
        q_NHD,
        k_NKD,
        v_NKD,
        *prompt,
        *own,
        lengths_G,
        group_N,
        slot_N,
        scratch,
        out,
        *strides,
        *shape,
        step,
        scale,
    )
    return out


def causal_softmax_(scores_BQT: Tensor, queries: int, offset: int, scale: float) -> Tensor:
    """Turn scores into the softmax of ``scale · scores`` over what a query sees: ``offset + q % queries + 1`` keys."""
    rows, keys = scores_BQT.flatten(0, -2).shape
    scratch = torch.empty(keys + STEP)
    _call("causal_softmax", scores_BQT, scratch, rows, keys, queries, offset, scale)
    return scores_BQT


def causal_softmax_backward_(weights_BQT: Tensor, grad_BQT: Tensor, scale: float) -> Tensor:
    """Turn the gradient by the weights of `causal_softmax_` into that by the scores."""
    rows, keys = grad_BQT.flatten(0, -2).shape
    _call("causal_softmax_backward", weights_BQT, grad_BQT, rows, keys, scale)
    return grad_BQT


def online_softmax_(logits_NV: Tensor, largest_N: Tensor, sum_N: Tensor, moment_N: Tensor, scale: float) -> Tensor:
    """Turn a block of logits into ``exp(scale · logit - largest)``, and bring the sums over all blocks so far up to date.

    Args:
        logits_NV: a block of the vocabulary.
        largest_N: of the logits so far, in fp32 like the others.
        sum_N: of the weights.
        moment_N: of each weight times its logit less the largest.
        scale: of the logits.

    Returns:
        What other sums over earlier blocks are to be multiplied with.
    """
    rows, block = logits_NV.shape
    shrink_N = torch.empty_like(largest_N)
    _call("online_softmax", logits_NV, largest_N, sum_N, moment_N, shrink_N, rows, block, scale)
    return shrink_N
