"""Linear layers whose weights lie in memory as the CPU's bfloat16 kernels read them.

A product lays its weights out first, every time. For the few rows of a decoding step that takes a third of the time, for the
many of a training step a tenth, so weights that stay the same for many products are laid out once. The operations are those
that ``torch.compile`` uses for frozen weights.
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
        """Take over a weight, output × input, and a bias."""
        super().__init__()
        self._bias = bias
        self.write(weight)

    def write(self, weight: Tensor) -> None:
        """Replace the weight."""
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(torch.bfloat16).contiguous(), None)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x Wᵀ + b``."""
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")


class FrozenProduct:
    """The two products of a frozen linear layer: with its input, and with the gradient by its output."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Lay the weight, output × input, out for both, where that gains anything; it must not change afterwards."""
        self._weight, self._bias = weight, bias
        self._packed: tuple[PackedLinear, PackedLinear] | None = None
        if can_pack(weight.dtype, weight.device):
            self._packed = PackedLinear(weight, bias), PackedLinear(weight.T)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x Wᵀ + b``."""
        return self._packed[0](x) if self._packed else nn.functional.linear(x, self._weight, self._bias)

    def backward(self, grad: Tensor) -> Tensor:
        """Return ``grad W``."""
        return self._packed[1](grad) if self._packed else grad @ self._weight
