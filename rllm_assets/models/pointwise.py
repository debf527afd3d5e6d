"""Norm, gate and rotation between a layer's products, each in one step: by a kernel, or where there is none by torch.

Shape suffixes: N tokens, W width, I width of the gate, A heads, D head size.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from rllm_assets.models import kernels


def rms_norm(x_NW: Tensor, weight_W: Tensor, epsilon: float) -> Tensor:
    """Return ``x / sqrt(mean(x²) + epsilon) · weight`` (arXiv 1910.07467); the weight has no gradient."""
    if _learns(x_NW):
        return _RMSNorm.apply(x_NW, weight_W, epsilon)  # pyright: ignore[reportReturnType]
    return _normed(x_NW, weight_W, epsilon)[0]


def _normed(x_NW: Tensor, weight_W: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the norm, and what each row was multiplied with."""
    if kernels.are_usable(x_NW.dtype, x_NW.device):
        return kernels.rms_norm(x_NW, weight_W, epsilon)
    wide_NW = x_NW.float()
    inverse_N = torch.linalg.vecdot(wide_NW, wide_NW).div_(x_NW.shape[-1]).add_(epsilon).rsqrt_()
    return (wide_NW * inverse_N[:, None]).mul_(weight_W.float()).to(x_NW.dtype), inverse_N


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NW: Tensor, weight_W: Tensor, epsilon: float) -> Tensor:
        normed, inverse_N = _normed(x_NW, weight_W, epsilon)
        ctx.save_for_backward(x_NW, weight_W, inverse_N)
        return normed

    @staticmethod
    def backward(ctx: Any, grad_NW: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_NW, weight_W, inverse_N = ctx.saved_tensors
        if kernels.are_usable(x_NW.dtype, x_NW.device):
            return kernels.rms_norm_backward(x_NW, weight_W, inverse_N, grad_NW), None, None
        normed = x_NW.float() * inverse_N[:, None]
        grad_normed = grad_NW.float() * weight_W.float()
        along = torch.linalg.vecdot(normed, grad_normed).div_(-x_NW.shape[-1])[:, None]
        return grad_normed.addcmul_(normed, along).mul_(inverse_N[:, None]).to(x_NW.dtype), None, None


def silu_gated(gate_NI: Tensor, up_NI: Tensor) -> Tensor:
    """Return ``silu(gate) · up`` (arXiv 2002.05202)."""
    if _learns(gate_NI):
        return _SiluGated.apply(gate_NI, up_NI)  # pyright: ignore[reportReturnType]
    return _gated(gate_NI, up_NI)


def _gated(gate_NI: Tensor, up_NI: Tensor) -> Tensor:
    if kernels.are_usable(gate_NI.dtype, gate_NI.device):
        return kernels.silu_gated(gate_NI, up_NI)
    return silu(gate_NI) * up_NI


class _SiluGated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_NI: Tensor, up_NI: Tensor) -> Tensor:
        ctx.save_for_backward(gate_NI, up_NI)
        return _gated(gate_NI, up_NI)

    @staticmethod
    def backward(ctx: Any, grad_NI: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gate_NI, up_NI = ctx.saved_tensors
        if kernels.are_usable(gate_NI.dtype, gate_NI.device):
            return kernels.silu_gated_backward(gate_NI, up_NI, grad_NI)
        return torch.ops.aten.silu_backward(grad_NI * up_NI, gate_NI), grad_NI * silu(gate_NI)


def rotated(x_NAD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
    """Return rotary embeddings (arXiv 2104.09864) of heads, whose pairs are half a head apart."""
    if _learns(x_NAD):
        return _Rotated.apply(x_NAD, cos_ND, sin_ND)  # pyright: ignore[reportReturnType]
    return _turned(x_NAD, cos_ND, sin_ND)


def _turned(x_NAD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
    if kernels.are_usable(x_NAD.dtype, x_NAD.device):
        return kernels.rotate(x_NAD, cos_ND, sin_ND)
    first, second = x_NAD.chunk(2, dim=-1)
    return torch.addcmul(x_NAD * cos_ND[:, None], torch.cat([-second, first], dim=-1), sin_ND[:, None])


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NAD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
        ctx.save_for_backward(cos_ND, sin_ND)
        return _turned(x_NAD, cos_ND, sin_ND)

    @staticmethod
    def backward(ctx: Any, grad_NAD: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        cos_ND, sin_ND = ctx.saved_tensors
        if kernels.are_usable(grad_NAD.dtype, grad_NAD.device):
            return kernels.rotate(grad_NAD, cos_ND, sin_ND, back=True), None, None
        first, second = (grad_NAD * sin_ND[:, None]).chunk(2, dim=-1)
        return torch.addcmul(torch.cat([second, -first], dim=-1), grad_NAD, cos_ND[:, None]), None, None


def _learns(x: Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()
