"""Attention as plain matrix products whose weights are kept for the gradient.

On a CPU this takes a quarter of the time of the fused kernel with its gradient, at the price of one number for each pair of
query and key. It is for responses that are short enough to pay that.

Shape suffixes: R rows, H query heads, K key heads, C queries, T keys, D head size; B key heads of all rows, Q queries of all
heads that share one.
"""

from typing import Any

import torch
from torch import Tensor

from rllm_assets.models import kernels


class _DenseAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BQD: Tensor, k_BTD: Tensor, v_BTD: Tensor, queries: int, scale: float) -> Tensor:
        weights = _weights(q_BQD, k_BTD.transpose(1, 2), queries, scale)
        ctx.save_for_backward(q_BQD, k_BTD, v_BTD, weights)
        ctx.scale = scale
        return weights @ v_BTD

    @staticmethod
    def backward(ctx: Any, grad_BQD: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q_BQD, k_BTD, v_BTD, weights = ctx.saved_tensors
        grad_v = weights.transpose(1, 2) @ grad_BQD
        grad_weights = grad_BQD @ v_BTD.transpose(1, 2)
        if kernels.are_usable(weights.dtype, weights.device):
            grad_scores = kernels.causal_softmax_backward_(weights, grad_weights, ctx.scale)
        else:
            grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype).mul_(
                ctx.scale
            )
        return grad_scores @ k_BTD, grad_scores.transpose(1, 2) @ q_BQD, grad_v, None, None


def _weights(q_BQD: Tensor, k_BDT: Tensor, queries: int, scale: float) -> Tensor:
    keys = k_BDT.shape[-1]
    if kernels.are_usable(q_BQD.dtype, q_BQD.device):
        return kernels.causal_softmax_(q_BQD @ k_BDT, max(queries, 1), keys - queries, scale)
    unseen_CT = torch.full((queries, keys), float("-inf"), dtype=q_BQD.dtype, device=q_BQD.device)
    unseen_QT = unseen_CT.triu_(keys - queries + 1).repeat(q_BQD.shape[1] // max(queries, 1), 1)
    return torch.baddbmm(unseen_QT[None], q_BQD, k_BDT, alpha=scale).softmax(-1)


def dense_attention(q_RHCD: Tensor, k_RKTD: Tensor, v_RKTD: Tensor, scale: float) -> Tensor:
    """Return ``softmax(scale · q kᵀ) v``, R × H × C × D: the last query sees all keys, and each one before it one key less.

    Args:
        q_RHCD: queries.
        k_RKTD: keys; each of their heads serves H / K heads of the queries.
        v_RKTD: values.
        scale: of the scores.
    """
    rows, heads, queries, size = q_RHCD.shape
    key_heads, keys = k_RKTD.shape[1:3]
    out = _DenseAttention.apply(
        q_RHCD.reshape(rows * key_heads, heads // key_heads * queries, size),
        k_RKTD.reshape(rows * key_heads, keys, size),
        v_RKTD.reshape(rows * key_heads, keys, size),
        queries,
        scale,
    )
    return out.view(rows, heads, queries, size)  # pyright: ignore[reportAttributeAccessIssue]
