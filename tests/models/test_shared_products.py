"""Layers that read the same input, as one product."""

import pytest
import torch
from torch import nn

from rllm_assets.models.shared_products import share_products

NAMES = ("first", "second", "third", "after", "unused")


class Model(nn.Module):
    """Three layers of one input, one of another, and one that is never called."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(16, 8), nn.Linear(16, 4, bias=False), nn.Linear(16, 8)
        self.after, self.unused = nn.Linear(8, 2, bias=False), nn.Linear(16, 2)
        self.apart = False

    def forward(self, x):
        y = self.first(x) + self.third(x.clone() if self.apart else x) + self.second(x).repeat(1, 2)
        return self.after(y)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def pair(dtype):
    torch.manual_seed(0)
    plain, model = Model().to(dtype), Model().to(dtype)
    model.load_state_dict(plain.state_dict())
    x = torch.randn(5, 16).to(dtype)
    with torch.no_grad():
        return plain, model, share_products(model, NAMES, lambda: model(x))


@torch.no_grad()
def test_layers_of_one_input_are_one_product(pair, dtype):
    plain, model, shared = pair
    assert [each.names for each in shared] == [("first", "third", "second"), ("after",), ("unused",)]
    for _ in range(3):
        x = torch.randn(7, 16).to(dtype)
        torch.testing.assert_close(model(x), plain(x))
    assert model.first._parts._input is None


@torch.no_grad()
def test_a_layer_that_is_given_another_tensor_is_computed_for_it(pair, dtype):
    plain, model, _ = pair
    plain.apart = model.apart = True
    x = torch.randn(7, 16).to(dtype)
    torch.testing.assert_close(model(x), plain(x))
    torch.testing.assert_close(model.unused(x), plain.unused(x))


@torch.no_grad()
def test_a_product_may_be_added_to_something(pair, dtype):
    plain, _, shared = pair
    x, residual = torch.randn(7, 16).to(dtype), torch.randn(7, 20).to(dtype)
    kept = residual.clone()
    known = torch.cat([plain.first(x), plain.third(x), plain.second(x)], dim=1) + residual
    torch.testing.assert_close(
        shared[0].linear.added(x, residual), known, atol=0.02 if dtype == torch.bfloat16 else 1e-5, rtol=1e-2
    )
    assert torch.equal(residual, kept)


@torch.no_grad()
def test_weights_can_be_written(pair, dtype):
    plain, model, shared = pair
    for each in shared:
        for name in each.names:
            plain.get_submodule(name).weight.mul_(2)
        each.write([plain.get_submodule(name).weight for name in each.names])
    x = torch.randn(7, 16).to(dtype)
    torch.testing.assert_close(model(x), plain(x))
