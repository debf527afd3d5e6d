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
    """Some layers of a model as one packed product, in whose place stand its parts.

    Attributes:
        names: of the layers, in the order in which the model calls them.
    """

    def __init__(self, names: Sequence[str], layers: Sequence[nn.Linear]) -> None:
        """Take over the layers' weights and biases."""
        self.names = tuple(names)
        self._sizes = [layer.out_features for layer in layers]
        biases = [cast(Tensor | None, layer.bias) for layer in layers]
        filled = [
            torch.zeros(size, dtype=layer.weight.dtype) if bias is None else bias
            for bias, layer, size in zip(biases, layers, self._sizes, strict=True)
        ]
        bias = torch.cat(filled) if any(bias is not None for bias in biases) else None
        self._product = PackedLinear(torch.cat([layer.weight for layer in layers]), bias)
        self._input: Tensor | None = None
        self._parts: tuple[Tensor, ...] = ()

    def write(self, weights: Sequence[Tensor]) -> None:
        """Replace the weights of all layers."""
        self._product.write(torch.cat(list(weights)))

    def part(self, index: int, x: Tensor) -> Tensor:
        """Return what one of the layers says of an input."""
        if x is not self._input:
            self._input, self._parts = x, self._product(x).split(self._sizes, -1)
        part = self._parts[index]
        if index == len(self._sizes) - 1:
            self._input, self._parts = None, ()
        return part


class _Part(nn.Module):
    def __init__(self, shared: SharedProduct, index: int) -> None:
        super().__init__()
        self._shared, self._index = shared, index

    def forward(self, x: Tensor) -> Tensor:
        return self._shared.part(self._index, x)


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
        for index, name in enumerate(shared.names):
            model.set_submodule(name, _Part(shared, index))
    return found
