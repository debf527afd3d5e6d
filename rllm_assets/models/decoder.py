"""The forward pass of Llama and its kin, lean: in decoding, a layer's many small operations would take as long as its products.

The same arithmetic as Hugging Face's modules, in a fraction of the operations: queries, keys and values are one product and so
are gate and up, queries and keys are rotated together, and what a layer adds is added where it is computed. Without gradient.

Shape suffixes as in `rllm_assets.models.attention`; W width of the model, A heads of queries and keys.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import PreTrainedModel

from rllm_assets.models.attention import Layout
from rllm_assets.models.fused_layers import SILU
from rllm_assets.models.pointwise import rms_norm, rotated, silu_gated
from rllm_assets.models.shared_products import SharedProduct


class Decoder:
    """The layers of a Llama-like model between token ids and the head.

    Attributes:
        products: its linear layers.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Take over the model's weights."""
        names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
        backbone: Any = model.get_decoder()
        self._embedding: Tensor = backbone.embed_tokens.weight.detach()
        self._rotary: nn.Module = backbone.rotary_emb
        self._layers = [_Layer.of(layer, names) for layer in backbone.layers]
        self._norm = _Norm.of(backbone.norm)
        self.products = [product for layer in self._layers for product in layer.products()]

    @torch.no_grad()
    def hidden(self, token_ids_N: Tensor, layout: Layout) -> Tensor:
        """Return the last hidden states of packed tokens, N × W."""
        x_NW = embedding(token_ids_N, self._embedding)
        cos_1ND, sin_1ND = self._rotary(x_NW, layout.position_ids[None])
        for number, layer in enumerate(self._layers):
            x_NW = layer(number, x_NW, cos_1ND[0], sin_1ND[0], layout)
        return self._norm(x_NW)


@dataclass(frozen=True)
class _Norm:
    """A root mean square norm."""

    weight_W: Tensor
    epsilon: float

    @classmethod
    def of(cls, norm: Any) -> "_Norm":
        return cls(norm.weight.detach(), norm.variance_epsilon)

    def __call__(self, x_NW: Tensor) -> Tensor:
        return rms_norm(x_NW, self.weight_W, self.epsilon)


@dataclass(frozen=True)
class _Layer:
    """A layer: attention, then the gated product."""

    head_size: int
    scale: float
    gated: Callable[[Tensor, Tensor], Tensor]
    before_attention: _Norm
    queries_keys_values: SharedProduct
    output: SharedProduct
    before_mlp: _Norm
    gate_up: SharedProduct
    down: SharedProduct

    @classmethod
    def of(cls, layer: Any, names: dict[nn.Module, str]) -> "_Layer":
        attention, mlp = layer.self_attn, layer.mlp

        def gated(gate_NI: Tensor, up_NI: Tensor) -> Tensor:
            return mlp.act_fn(gate_NI) * up_NI

        def product(*linears: nn.Linear) -> SharedProduct:
            return SharedProduct([names[linear] for linear in linears], linears)

        return cls(
            attention.head_dim,
            attention.scaling,
            silu_gated if attention.config.hidden_act in SILU else gated,
            _Norm.of(layer.input_layernorm),
            product(attention.q_proj, attention.k_proj, attention.v_proj),
            product(attention.o_proj),
            _Norm.of(layer.post_attention_layernorm),
            product(mlp.gate_proj, mlp.up_proj),
            product(mlp.down_proj),
        )

    def products(self) -> Iterator[SharedProduct]:
        yield from (self.queries_keys_values, self.output, self.gate_up, self.down)

    def __call__(self, number: int, x_NW: Tensor, cos_ND: Tensor, sin_ND: Tensor, layout: Layout) -> Tensor:
        heads, key_heads, _ = (size // self.head_size for size in self.queries_keys_values.sizes)
        all_NAD = self.queries_keys_values.linear(self.before_attention(x_NW)).unflatten(-1, (-1, self.head_size))
        rotated_AND = rotated(all_NAD[:, : heads + key_heads], cos_ND, sin_ND).transpose(0, 1)
        v_KND = all_NAD[:, heads + key_heads :].transpose(0, 1)
        attended_NHD = layout.attend(number, rotated_AND[:heads], rotated_AND[heads:], v_KND, self.scale)
        x_NW = self.output.linear.added(attended_NHD.flatten(1), x_NW)
        gate, up = self.gate_up.linear(self.before_mlp(x_NW)).chunk(2, dim=-1)
        return self.down.linear.added(self.gated(gate, up), x_NW)
