"""PEFT's LoRA layers, computed in one autograd node instead of six.

Parameters, names and files stay PEFT's; only the arithmetic of ``W x + s B A x`` is replaced: no intermediate of the output's
size, one saved input per layer, and low-rank gradients without a detour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from rllm_assets.models.packed_linear import FrozenProduct


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, base: FrozenProduct, lora_a: Tensor, lora_b: Tensor, scale: float) -> Tensor:
        a, b = lora_a.to(x.dtype), lora_b.to(x.dtype)
        x_2d = x.reshape(-1, x.shape[-1])
        low_rank = x_2d @ a.T
        y = base.forward(x_2d).addmm_(low_rank, b.T, alpha=scale)
        ctx.save_for_backward(x_2d, low_rank, a, b)
        ctx.base = base
        ctx.scale = scale
        ctx.shape = x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_2d, low_rank, a, b = ctx.saved_tensors
        grad_2d = grad.reshape(-1, grad.shape[-1])
        grad_low_rank = (grad_2d @ b).mul_(ctx.scale)
        grad_a = (grad_low_rank.T @ x_2d).float()
        # The other way round, grad_2d.T @ low_rank, takes twice the time.
        grad_b = (low_rank.T @ grad_2d).mul_(ctx.scale).T.float()
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = ctx.base.backward(grad_2d).addmm_(grad_low_rank, a).view(ctx.shape)
        return grad_x, None, grad_a, grad_b, None


def _forward(self: LoraLinear, x: Tensor, *_: Any, frozen: FrozenProduct, **__: Any) -> Tensor:
    active = [name for name in self.active_adapters if name in self.lora_A]
    if self.disable_adapters or not active:
        return frozen.forward(x)
    (name,) = active
    return _LoraProduct.apply(x, frozen, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name])  # pyright: ignore[reportReturnType]


def fuse_lora_layers(model: nn.Module) -> None:
    """Make every plain LoRA layer of `model` compute its product in one node; quantized bases keep PEFT's arithmetic."""
    for layer in model.modules():
        if type(layer) is LoraLinear and type(base := layer.get_base_layer()) is nn.Linear:
            layer.forward = partial(_forward, layer, frozen=FrozenProduct(base.weight, base.bias))


@dataclass(frozen=True)
class LoraWeights:
    """One adapted layer: where it sits in the base model, the layer itself, and its matrices."""

    name: str
    base: nn.Module
    lora_a: Tensor
    lora_b: Tensor
    scale: float

    @property
    def weight(self) -> Tensor:
        """The base's weight, output × input; of a quantized base what its numbers stand for."""
        return dequantize_module_weight(self.base)


def lora_weights(model: nn.Module, adapter: str) -> Iterator[LoraWeights]:
    """Yield every layer that `adapter` adapts; names are those of the model before PEFT wrapped it."""
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer) and adapter in layer.lora_A:
            a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
            yield LoraWeights(name, layer.get_base_layer(), a, b, layer.scaling[adapter])  # pyright: ignore[reportArgumentType]
