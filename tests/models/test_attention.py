"""Attention as products that keep their weights is that of the fused kernel, in value and gradient."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from rllm_assets.models import attention
from rllm_assets.models.attention import Group, PackedLayout
from rllm_assets.models.dense_attention import dense_attention


@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 2), (3, 1)])
def test_it_is_that_of_the_fused_kernel(heads, key_heads):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, h, n, 8, requires_grad=True) for h, n in ((heads, 5), (key_heads, 9), (key_heads, 9)))
    seen = torch.cat([torch.ones(5, 4, dtype=torch.bool), torch.ones(5, 5, dtype=torch.bool).tril()], dim=1)
    ours = dense_attention(q, k, v, 0.3)
    theirs = scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(ours, theirs)
    by = torch.randn(ours.shape)
    for found, known in zip(
        torch.autograd.grad(ours, (q, k, v), by), torch.autograd.grad(theirs, (q, k, v), by), strict=True
    ):
        torch.testing.assert_close(found, known, atol=1e-5, rtol=1e-5)


def test_long_groups_take_the_fused_kernel_to_the_same_result(monkeypatch):
    torch.manual_seed(0)
    layout = PackedLayout([Group(3, ((0, 1), (0, 2, 3))), Group(2, ())], torch.device("cpu"))
    q, k, v = torch.randn(4, 9, 8), torch.randn(2, 9, 8), torch.randn(2, 9, 8)
    short = layout.attend(0, q, k, v, 0.3)
    monkeypatch.setattr(attention, "MAX_KEPT_WEIGHTS", 0)
    monkeypatch.setattr(attention, "dense_attention", None)  # nobody may call it
    torch.testing.assert_close(layout.attend(0, q, k, v, 0.3), short)
