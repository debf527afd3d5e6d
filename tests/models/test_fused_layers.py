"""Layers in fewer steps say what the model's own say, in value and gradient; layers of other kinds are left alone."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from rllm_assets.models.attention import IMPLEMENTATION, Group, PackedLayout
from rllm_assets.models.decoder import Decoder
from rllm_assets.models.fused_layers import fuse_layers, fuse_norms
from rllm_assets.models.loading import final_hidden

CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
}
LONG = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FAMILIES = {
    "llama": {},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama with a long context": {"rope_parameters": {**LONG, "original_max_position_embeddings": 512}},
    "llama with narrow heads": {"head_dim": 8},
    "llama with another gate": {"hidden_act": "gelu"},
    "mistral": {},
    "qwen2": {},
}
LAYOUT = PackedLayout([Group(300, ()), Group(5, ((0, 1, 2), (0, 3)))], CPU)


@pytest.fixture(params=FAMILIES)
def model(request):
    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param.split()[0], **{**SHAPE, **FAMILIES[request.param]})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name:
            parameter.data = 1 + 0.3 * torch.randn(parameter.shape)
    model.requires_grad_(False)
    model.set_attn_implementation(IMPLEMENTATION)
    return model


def outputs(model, tokens):
    """Last hidden states, and a gradient by the embeddings."""
    embeddings = model.get_input_embeddings()
    learned = embeddings.weight.detach().clone().requires_grad_()
    embeddings.weight = nn.Parameter(learned)
    hidden = final_hidden(model, tokens, LAYOUT)
    by = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(hidden, embeddings.weight, by)
    return hidden.detach(), gradient


def test_value_and_gradient_are_the_models_own(model):
    tokens = torch.randint(50, (309,))
    fused = copy.deepcopy(model)
    fuse_layers(fused)
    assert "forward" in vars(fused.get_decoder().layers[0].self_attn)
    for found, known in zip(outputs(fused, tokens), outputs(model, tokens), strict=True):
        torch.testing.assert_close(found, known, atol=2e-5 * float(known.abs().max()), rtol=0)


def test_the_lean_decoder_says_the_same(model):
    tokens = torch.randint(50, (309,))
    with torch.no_grad():
        known = final_hidden(model, tokens, LAYOUT)
    decoder = Decoder(model)
    torch.testing.assert_close(decoder.hidden(tokens, LAYOUT), known, atol=1e-4, rtol=1e-4)
    names = {name for product in decoder.products for name in product.names}
    assert names == {n for n, m in model.named_modules() if type(m) is nn.Linear and n != "lm_head"}


def test_it_computes_with_what_is_written(model):
    decoder, other = Decoder(copy.deepcopy(model)), model
    for product in decoder.products:
        layers = [other.get_submodule(name) for name in product.names]
        for layer in layers:
            layer.weight.data = 1.1 * layer.weight
        product.write([layer.weight for layer in layers])
    tokens = torch.randint(50, (309,))
    with torch.no_grad():
        torch.testing.assert_close(
            decoder.hidden(tokens, LAYOUT), final_hidden(other, tokens, LAYOUT), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "olmo2"])
def test_layers_of_another_kind_are_left_alone(family):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SHAPE, head_dim=16))
    fuse_layers(model.requires_grad_(False))
    layer = model.get_decoder().layers[0]
    assert "forward" not in {**vars(layer.self_attn), **vars(layer.mlp)}


def frozen(kind):
    norm = kind(16)
    norm.weight.data = torch.linspace(0.5, 2, 16)
    return norm.requires_grad_(False)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.04)], ids=str)
def test_a_norm_alone(dtype, tolerance):
    norm, plain = frozen(LlamaRMSNorm).to(dtype), frozen(LlamaRMSNorm).to(dtype)
    fuse_norms(norm)
    assert "forward" in vars(norm)
    x, by = torch.randn(2, 5, 16, dtype=dtype, requires_grad=True), torch.randn(2, 5, 16, dtype=dtype)
    torch.testing.assert_close(norm(x), plain(x), atol=tolerance, rtol=tolerance)
    (found,), (known,) = (torch.autograd.grad(n(x), x, by) for n in (norm, plain))
    torch.testing.assert_close(found, known, atol=tolerance, rtol=tolerance)


def test_a_norm_that_scales_otherwise_or_learns_is_left_alone():
    other, learning = frozen(GemmaRMSNorm), frozen(LlamaRMSNorm)
    learning.weight.requires_grad_(True)
    fuse_norms(nn.ModuleList([other, learning]))
    assert "forward" not in vars(other)
    assert "forward" not in vars(learning)
