"""Linear layers whose weights lie in memory as the CPU's bfloat16 kernels read them.

A product lays its weights out first, every time. For the few rows of a decoding step that takes a third of the time, for the
many of a training step a tenth, so weights that stay the same for many products are laid out once. The operations are those
that ``torch.compile`` uses for frozen weights. On other hardware and in other dtypes weights stay as they are.
"""

import torch
from torch import Tensor, nn


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether weights can be laid out beforehand here, and whether that gains anything."""
    if dtype != torch.bfloat16 or device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


class PackedLinear(nn.Module):
    """A linear layer without gradient, whose weight can be written but not read."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Take over a weight, output × input, and a bias; both may be read as long as nothing is written."""
        super().__init__()
        self._bias = bias
        self._dtype, self._is_packed = weight.dtype, can_pack(weight.dtype, weight.device)
        self.write(weight)

    def write(self, weight: Tensor) -> None:
        """Replace the weight."""
        weight = weight.detach().to(self._dtype)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None) if self._is_packed else weight

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x Wᵀ + b``."""
        if self._is_packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return nn.functional.linear(x, self._weight, self._bias)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return ``x Wᵀ + b + residual``."""
        if self._is_packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")
        return self(x).add_(residual)


class FrozenProduct:
    """The two products of a frozen linear layer: with its input, and with the gradient by its output."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Lay the weight, output × input, out for both, where that gains anything; it must not change afterwards."""
        self._forward, self._backward = PackedLinear(weight, bias), PackedLinear(weight.T)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x Wᵀ + b``."""
        return self._forward(x)

    def backward(self, grad: Tensor) -> Tensor:
        """Return ``grad W``."""
        return self._backward(grad)
