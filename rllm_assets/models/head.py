"""Log-probabilities of given tokens without keeping the logits.

The gradient of ``log softmax(W h / T)[a]`` with respect to ``h`` is ``(W[a] - p W) / T`` and needs only a number per token from
above, so it is computed in the forward pass, chunk by chunk, while the probabilities are at hand. Nothing of the size of the
vocabulary outlives its chunk, and the head is multiplied twice, as often as without the trick.
"""

from typing import Any

import torch
from torch import Tensor

# Logits of one chunk: 256 tokens x 50,000 entries x 4 bytes = 50 MB.
CHUNK_TOKENS = 256


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        needs_gradient = ctx.needs_input_grad[0]
        logprobs = torch.empty(len(tokens), dtype=torch.float32, device=hidden.device)
        entropies = torch.empty_like(logprobs)
        gradient = torch.empty_like(hidden) if needs_gradient else None
        for start in range(0, len(tokens), CHUNK_TOKENS):
            chunk = slice(start, start + CHUNK_TOKENS)
            logits = (hidden[chunk].to(weight.dtype) @ weight.T).float().div_(temperature)
            normalizer = logits.logsumexp(-1)
            chosen = logits.gather(1, tokens[chunk, None])[:, 0]
            logprobs[chunk] = chosen - normalizer
            probabilities = (logits - normalizer[:, None]).exp_()
            entropies[chunk] = normalizer - (probabilities * logits).sum(-1)
            if gradient is not None:
                expected = probabilities.to(weight.dtype) @ weight
                gradient[chunk] = ((weight[tokens[chunk]] - expected) / temperature).to(hidden.dtype)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor, _grad_entropies: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        return grad_logprobs[:, None].to(gradient.dtype) * gradient, None, None, None


def token_logprobs(hidden: Tensor, weight: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return ``log softmax(weight · hidden / temperature)[token]`` and the entropy, both in fp32 and one a token.

    Args:
        hidden: last hidden states, tokens × width.
        weight: the frozen head, vocabulary × width.
        tokens: the token that each hidden state is asked about.
        temperature: the same as in sampling, or the two disagree about what was probable.
    """
    return _TokenLogprobs.apply(hidden, weight, tokens, temperature)  # pyright: ignore[reportReturnType]
