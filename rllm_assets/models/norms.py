"""Root mean square normalisation in one autograd node that keeps its input and one number a token."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        normed = x.float()
        inverse = torch.linalg.vecdot(normed, normed).div_(x.shape[-1]).add_(epsilon).rsqrt_()[..., None]
        ctx.save_for_backward(x, weight, inverse)
        return normed.mul(inverse).to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, inverse = ctx.saved_tensors
        normed = x.float() * inverse
        grad_normed = (grad * weight).float()
        along = torch.linalg.vecdot(normed, grad_normed).div_(-x.shape[-1])[..., None]
        return grad_normed.addcmul_(normed, along).mul_(inverse).to(x.dtype), None, None


def fuse_norms(model: nn.Module) -> None:
    """Make every root mean square norm of `model` compute itself in one node.

    A norm counts as one where its class is called so, its weight is frozen, and it says the same of a random input: some
    families scale by something else than their weight.
    """
    for norm in model.modules():
        epsilon, weight = getattr(norm, "variance_epsilon", getattr(norm, "eps", None)), getattr(norm, "weight", None)
        if not (type(norm).__name__.endswith("RMSNorm") and isinstance(epsilon, float) and isinstance(weight, Tensor)):
            continue
        # In fp32, where rounding hides no difference.
        x = torch.randn((4, *weight.shape), generator=torch.Generator().manual_seed(0)).to(weight.device)
        if not weight.requires_grad and torch.allclose(norm(x), _normed(x, weight, epsilon)):
            norm.forward = partial(_normed, weight=weight, epsilon=epsilon)


def _normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return _RMSNorm.apply(x, weight, epsilon)  # pyright: ignore[reportReturnType]
