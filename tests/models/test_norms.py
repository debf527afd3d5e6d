"""Norms in one node say what the model's own say, and others are left alone."""

import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from rllm_assets.models.norms import fuse_norms


def frozen(kind):
    norm = kind(16)
    norm.weight.data = torch.linspace(0.5, 2, 16)
    return norm.requires_grad_(False)


def test_value_and_gradient_are_the_models_own():
    norm, plain = frozen(LlamaRMSNorm), frozen(LlamaRMSNorm)
    fuse_norms(nn.ModuleList([norm]))
    assert "forward" in vars(norm)
    x, by = torch.randn(2, 5, 16, requires_grad=True), torch.randn(2, 5, 16)
    torch.testing.assert_close(norm(x), plain(x))
    (found,), (known,) = (torch.autograd.grad(n(x), x, by) for n in (norm, plain))
    torch.testing.assert_close(found, known, atol=1e-6, rtol=1e-5)


def test_a_norm_that_scales_otherwise_or_learns_is_left_alone():
    other, learning = frozen(GemmaRMSNorm), frozen(LlamaRMSNorm)
    learning.weight.requires_grad_(True)
    fuse_norms(nn.ModuleList([other, learning]))
    assert "forward" not in vars(other)
    assert "forward" not in vars(learning)
