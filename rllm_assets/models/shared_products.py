"""Linear layers that read the same input, in one product: a few rows are multiplied faster with one wide matrix.

Which layers belong together is seen, not known: the model is run once, and those that were given the very same tensor one after
another are one product. Where a layer is given another tensor after all, its product is computed for it alone.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn

from rllm_assets.models.packed_linear import PackedLinear


class SharedProduct:
    """Some layers of a model as one product.

    Attributes:
        names: of the layers, in the order of their outputs.
        sizes: how many outputs each has.
        linear: the product.
    """

    def __init__(self, names: Sequence[str], layers: Sequence[nn.Linear]) -> None:
        """Take over the layers' weights, of which nothing is left to them, since memory may not hold them twice, and biases."""
        self.names = tuple(names)
        self.sizes = [layer.out_features for layer in layers]
        biases = [cast(Tensor | None, layer.bias) for layer in layers]
        filled = [
            torch.zeros(size, dtype=layer.weight.dtype, device=layer.weight.device) if bias is None else bias
            for bias, layer, size in zip(biases, layers, self.sizes, strict=True)
        ]
        bias = torch.cat(filled) if any(bias is not None for bias in biases) else None
        self.linear = PackedLinear(torch.cat([layer.weight for layer in layers]), bias)
        for layer in layers:
            layer.weight.data = layer.weight.new_empty(0)

    def write(self, weights: Sequence[Tensor]) -> None:
        """Replace the weights of all layers."""
        self.linear.write(torch.cat(list(weights)))


class _Part(nn.Module):
    """One of the layers of a product, which all are computed when the first is asked."""

    def __init__(self, parts: "_Parts", index: int) -> None:
        super().__init__()
        self._parts, self._index = parts, index

    def forward(self, x: Tensor) -> Tensor:
        return self._parts.of(self._index, x)


class _Parts:
    def __init__(self, shared: SharedProduct) -> None:
        self._shared = shared
        self._input: Tensor | None = None
        self._outputs: tuple[Tensor, ...] = ()

    def of(self, index: int, x: Tensor) -> Tensor:
        if x is not self._input:
            self._input, self._outputs = x, self._shared.linear(x).split(self._shared.sizes, -1)
        output = self._outputs[index]
        if index == len(self._shared.sizes) - 1:
            self._input, self._outputs = None, ()
        return output


def share_products(model: nn.Module, names: Sequence[str], run: Callable[[], object]) -> list[SharedProduct]:
    """Put shared products in the place of the linear layers of some names.

    Args:
        model: whose layers they are.
        names: of the layers.
        run: runs the model on anything.
    """
    layers = {name: cast(nn.Linear, model.get_submodule(name)) for name in names}
    called: list[tuple[Tensor, str]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda _module, given: called.append((given[0], name))

    hooks = [layer.register_forward_pre_hook(note(name)) for name, layer in layers.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    # Tensors are kept until here, so that no two have the same identity.
    groups = [[name for _, name in group] for _, group in groupby(called, key=lambda call: id(call[0]))]
    groups += [[name] for name in names if name not in {name for group in groups for name in group}]
    found = [SharedProduct(group, [layers[name] for name in group]) for group in groups]
    for shared in found:
        parts = _Parts(shared)
        for index, name in enumerate(shared.names):
            model.set_submodule(name, _Part(parts, index))
    return found
