"""Layers of Hugging Face models in fewer and larger steps; their parameters, names and adapters stay what they are."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rllm_assets.models.attention import Layout
from rllm_assets.models.pointwise import rms_norm, rotated, silu_gated

# Families whose layers are Llama's, bar biases; their names are those of their configurations.
LLAMA_LIKE = ("llama", "mistral", "qwen2")
SILU = ("silu", "swish")


def is_llama_like(model: PreTrainedModel) -> bool:
    """Tell whether the layers of a model are those of Llama."""
    return model.config.model_type in LLAMA_LIKE


def fuse_layers(model: PreTrainedModel) -> None:
    """Make norms of all models, and attention and gate of Llama-like ones, compute themselves in few steps."""
    fuse_norms(model)
    if is_llama_like(model):
        backbone: Any = model.get_decoder()
        for layer in backbone.layers:
            layer.self_attn.forward = partial(_attention, layer.self_attn)
            if model.config.hidden_act in SILU:
                layer.mlp.forward = partial(_gated_product, layer.mlp)


def _attention(
    attention: Any, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], layout: Layout, **_: Any
) -> tuple[Tensor, None]:
    heads = -1, attention.head_dim
    q_NHD, k_NKD, v_NKD = (
        project(hidden_states)[0].unflatten(-1, heads)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    cos_ND, sin_ND = (table[0] for table in position_embeddings)
    q_HND, k_KND = (rotated(x, cos_ND, sin_ND).transpose(0, 1) for x in (q_NHD, k_NKD))
    out_NHD = layout.attend(attention.layer_idx, q_HND, k_KND, v_NKD.transpose(0, 1), attention.scaling)
    return attention.o_proj(out_NHD.flatten(1)[None]), None


def _gated_product(mlp: Any, x: Tensor) -> Tensor:
    gate, up = mlp.gate_proj(x), mlp.up_proj(x)
    return mlp.down_proj(silu_gated(gate.flatten(0, -2), up.flatten(0, -2)).view(gate.shape))


def fuse_norms(model: nn.Module) -> None:
    """Make every root mean square norm of `model` compute itself in one step.

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
            norm.forward = partial(_normed, weight=weight.detach(), epsilon=epsilon)


def _normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return rms_norm(x.flatten(0, -2), weight, epsilon).view(x.shape)
