"""Log-probabilities of given tokens without keeping the logits.

The gradient of ``log softmax(W h / T)[a]`` with respect to ``h`` is ``(W[a] - p W) / T`` and needs only a number per token from
above, so ``p W`` is computed in the forward pass, while the probabilities are at hand. Tokens and vocabulary are cut into blocks
that stay in a processor's cache; the softmax is put together from its blocks as they come (online softmax, arXiv 1805.02867).
The head is multiplied twice, as often as without the trick.

Shape suffixes: N tokens of a chunk, V entries of a block of the vocabulary, W width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Tokens of a chunk and entries of a block: 8 MB of logits in fp32 on a CPU, 128 MB on an accelerator.
ON_CPU, ON_ACCELERATOR = (512, 4096), (2048, 16384)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        needs_gradient = ctx.needs_input_grad[0]
        logprobs = torch.empty(len(tokens), dtype=torch.float32, device=hidden.device)
        entropies = torch.empty_like(logprobs)
        gradient = torch.empty_like(hidden) if needs_gradient else None
        size, block = ON_CPU if hidden.device.type == "cpu" else ON_ACCELERATOR
        for start in range(0, len(tokens), size):
            chunk = slice(start, start + size)
            softmax = _OnlineSoftmax(hidden[chunk], weight.split(block), tokens[chunk], temperature, needs_gradient)
            logprobs[chunk], entropies[chunk] = softmax.chosen - softmax.normalizer, softmax.entropy
            if gradient is not None:
                difference = weight[tokens[chunk]] - softmax.expected_NW
                gradient[chunk] = (difference / temperature).to(hidden.dtype)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor, _grad_entropies: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        return grad_logprobs[:, None].to(gradient.dtype) * gradient, None, None, None


class _OnlineSoftmax:
    """The softmax over the vocabulary, for a chunk of tokens.

    Attributes:
        normalizer: logarithm of the sum over the vocabulary.
        chosen: the logit of each token.
        entropy: of each token's distribution.
        expected_NW: the head's rows, weighted with their probabilities; 0 unless wanted.
    """

    def __init__(
        self, hidden_NW: Tensor, blocks: Sequence[Tensor], tokens: Tensor, temperature: float, expect: bool
    ) -> None:
        hidden_NW = hidden_NW.to(blocks[0].dtype)
        self.expected_NW = torch.zeros(hidden_NW.shape, dtype=torch.float32, device=hidden_NW.device)
        self.chosen = self.expected_NW.new_zeros(len(tokens))
        # Sums of exp(logit - largest), and of that times (logit - largest); the first shift is any number below all logits.
        total, moment, largest = self.chosen.clone(), self.chosen.clone(), torch.full_like(self.chosen, -1e30)
        first = 0
        for block_VW in blocks:
            logits_NV = (hidden_NW @ block_VW.T).float()
            if temperature != 1:
                logits_NV.div_(temperature)
            place = tokens - first
            first += len(block_VW)
            is_here = (place >= 0) & (place < len(block_VW))
            here = logits_NV.gather(1, place.clamp(0, len(block_VW) - 1)[:, None])[:, 0]
            self.chosen = torch.where(is_here, here, self.chosen)
            shift = largest - torch.maximum(largest, logits_NV.amax(-1))
            largest = largest - shift
            shrink = shift.exp()
            moment, total = shrink * (moment + shift * total), shrink * total
            centred_NV = logits_NV.sub_(largest[:, None])
            weights_NV = centred_NV.exp()
            total += weights_NV.sum(-1)
            moment += torch.linalg.vecdot(weights_NV, centred_NV)
            if expect:
                self.expected_NW.mul_(shrink[:, None]).add_(weights_NV.to(block_VW.dtype) @ block_VW)
        self.normalizer = largest + total.log()
        self.entropy = total.log() - moment / total
        self.expected_NW.div_(total[:, None])


def token_logprobs(hidden: Tensor, weight: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return ``log softmax(weight · hidden / temperature)[token]`` and the entropy, both in fp32 and one a token.

    Args:
        hidden: last hidden states, tokens × width.
        weight: the frozen head, vocabulary × width.
        tokens: the token that each hidden state is asked about.
        temperature: the same as in sampling, or the two disagree about what was probable.
    """
    return _TokenLogprobs.apply(hidden, weight, tokens, temperature)  # pyright: ignore[reportReturnType]
