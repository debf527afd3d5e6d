"""Attention as plain matrix products whose weights are kept for the gradient.

On a CPU this takes a quarter of the time of the fused kernel with its gradient, at the price of one number for each pair of
query and key. It is for responses that are short enough to pay that.

Shape suffixes: R rows, H query heads, K key heads, C queries, T keys, D head size; B key heads of all rows, Q queries of all
heads that share one.
"""

from typing import Any

import torch
from torch import Tensor


class _DenseAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BQD: Tensor, k_BTD: Tensor, v_BTD: Tensor, mask_QT: Tensor) -> Tensor:
        weights = torch.baddbmm(mask_QT[None], q_BQD, k_BTD.transpose(1, 2)).softmax(-1)
        ctx.save_for_backward(q_BQD, k_BTD, v_BTD, weights)
        return weights @ v_BTD

    @staticmethod
    def backward(ctx: Any, grad_BQD: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q_BQD, k_BTD, v_BTD, weights = ctx.saved_tensors
        grad_v = weights.transpose(1, 2) @ grad_BQD
        grad_weights = grad_BQD @ v_BTD.transpose(1, 2)
        grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        return grad_scores @ k_BTD, grad_scores.transpose(1, 2) @ q_BQD, grad_v, None


def dense_attention(q_RHCD: Tensor, k_RKTD: Tensor, v_RKTD: Tensor, mask_CT: Tensor, scale: float) -> Tensor:
    """Return ``softmax(scale · q kᵀ + mask) v``, R × H × C × D.

    Args:
        q_RHCD: queries.
        k_RKTD: keys; each of their heads serves H / K heads of the queries.
        v_RKTD: values.
        mask_CT: what is added to the scores: 0, or minus infinity for what a query must not see.
        scale: of the scores.
    """
    rows, heads, queries, size = q_RHCD.shape
    key_heads, keys = k_RKTD.shape[1:3]
    repeat = heads // key_heads
    out = _DenseAttention.apply(
        (q_RHCD * scale).reshape(rows * key_heads, repeat * queries, size),
        k_RKTD.reshape(rows * key_heads, keys, size),
        v_RKTD.reshape(rows * key_heads, keys, size),
        mask_CT.repeat(repeat, 1),
    )
    return out.view(rows, heads, queries, size)  # pyright: ignore[reportAttributeAccessIssue]
