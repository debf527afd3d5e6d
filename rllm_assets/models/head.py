"""Log-probabilities of given tokens without keeping the logits.

The gradient of ``log softmax(W h / T)[a]`` with respect to ``h`` is ``(W[a] - p W) / T``, so ``p W`` is computed in the forward
pass, while the probabilities are at hand. Hidden states and vocabulary are cut into blocks that stay in a processor's cache;
the softmax is put together from its blocks as they come (online softmax, arXiv 1805.02867). The head is multiplied twice, as
often as without the trick.

Shape suffixes: U hidden states, N those of a chunk, T tokens that are asked about, V entries of a block of the vocabulary, W
width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rllm_assets.models import kernels

# Hidden states of a chunk and entries of a block: 8 MB of logits in fp32 on a CPU, 128 MB on an accelerator.
ON_CPU, ON_ACCELERATOR = (512, 4096), (2048, 16384)
# Tokens whose rows of the head are taken out at once.
_PART = 4096


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_UW: Tensor, weight: Tensor, token_T: Tensor, reader_T: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        needs_gradient = ctx.needs_input_grad[0]
        logprob_T = torch.empty(len(token_T), dtype=torch.float32, device=hidden_UW.device)
        entropy_T = torch.empty_like(logprob_T)
        expected_UW = torch.empty_like(hidden_UW) if needs_gradient else None
        size, block = ON_CPU if hidden_UW.device.type == "cpu" else ON_ACCELERATOR
        scratch = _Scratch(min(size, len(hidden_UW)) * min(block, len(weight)), weight)
        for start in range(0, len(hidden_UW), size):
            chunk = slice(start, start + size)
            asked = ((reader_T >= start) & (reader_T < start + size)).nonzero()[:, 0]
            row_T = reader_T[asked] - start
            softmax = _OnlineSoftmax(
                hidden_UW[chunk].to(weight.dtype),
                weight.split(block),
                row_T,
                token_T[asked],
                temperature,
                needs_gradient,
                scratch,
            )
            logprob_T[asked] = softmax.chosen_T - softmax.normalizer_N[row_T]
            entropy_T[asked] = softmax.entropy_N[row_T]
            if expected_UW is not None:
                expected_UW[chunk] = softmax.expected_NW.to(hidden_UW.dtype)
        if expected_UW is not None:
            ctx.save_for_backward(expected_UW, weight, token_T, reader_T)
            ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy_T)
        return logprob_T, entropy_T

    @staticmethod
    def backward(ctx: Any, grad_T: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        expected_UW, weight, token_T, reader_T = ctx.saved_tensors
        grad_T = grad_T / ctx.temperature
        sum_U = grad_T.new_zeros(len(expected_UW)).index_add_(0, reader_T, grad_T)
        gradient_UW = expected_UW.float() * -sum_U[:, None]
        for part in torch.arange(len(token_T), device=token_T.device).split(_PART):
            of_chosen_TW = grad_T[part, None] * weight[token_T[part]].float()
            gradient_UW.index_add_(0, reader_T[part], of_chosen_TW)
        return gradient_UW.to(expected_UW.dtype), None, None, None, None


class _Scratch:
    """Memory for the numbers of one chunk and block, used again for each: what a processor's cache holds stays there."""

    def __init__(self, entries: int, weight: Tensor) -> None:
        fp32 = torch.float32
        self._memory = [weight.new_empty(entries, dtype=dtype) for dtype in (weight.dtype, fp32, fp32)]

    def shaped(self, rows: int, columns: int) -> list[Tensor]:
        """Return tensors of this shape: one in the head's dtype and two in fp32."""
        return [memory[: rows * columns].view(rows, columns) for memory in self._memory]


class _OnlineSoftmax:
    """The softmax over the vocabulary, for a chunk of hidden states.

    Attributes:
        normalizer_N: logarithm of the sum over the vocabulary.
        entropy_N: of each distribution.
        expected_NW: the head's rows, weighted with their probabilities; 0 unless wanted.
        chosen_T: the logit of each token that is asked about.
    """

    def __init__(
        self,
        hidden_NW: Tensor,
        blocks: Sequence[Tensor],
        row_T: Tensor,
        token_T: Tensor,
        temperature: float,
        expect: bool,
        scratch: _Scratch,
    ) -> None:
        self.expected_NW = torch.zeros(hidden_NW.shape, dtype=torch.float32, device=hidden_NW.device)
        self.chosen_T = self.expected_NW.new_zeros(len(token_T))
        # Sums of exp(logit - largest), and of that times (logit - largest); the first shift is any number below all logits.
        total, moment = self.expected_NW.new_zeros((2, len(hidden_NW)))
        largest = torch.full_like(total, -1e30)
        first = 0
        for block_VW in blocks:
            low_NV, logits_NV, weights_NV = scratch.shaped(len(hidden_NW), len(block_VW))
            torch.mm(hidden_NW, block_VW.T, out=low_NV)
            here = ((token_T >= first) & (token_T < first + len(block_VW))).nonzero()[:, 0]
            self.chosen_T[here] = low_NV[row_T[here], token_T[here] - first].float() / temperature
            first += len(block_VW)
            if kernels.are_usable(low_NV.dtype, low_NV.device):
                shrink = kernels.online_softmax_(low_NV, largest, total, moment, 1 / temperature)
            else:
                logits_NV.copy_(low_NV).div_(temperature)
                before, largest = largest, torch.maximum(largest, logits_NV.amax(-1))
                shift = before - largest
                shrink = shift.exp()
                moment, total = shrink * (moment + shift * total), shrink * total
                centred_NV = logits_NV.sub_(largest[:, None])
                torch.exp(centred_NV, out=weights_NV)
                total += weights_NV.sum(-1)
                moment += centred_NV.mul_(weights_NV).sum(-1)
                low_NV.copy_(weights_NV)
            if expect:
                self.expected_NW.mul_(shrink[:, None]).add_(low_NV @ block_VW)
        self.normalizer_N = largest + total.log()
        self.entropy_N = total.log() - moment / total
        self.expected_NW.div_(total[:, None])


def token_logprobs(
    hidden: Tensor, weight: Tensor, tokens: Tensor, temperature: float, readers: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``log softmax(weight · hidden / temperature)[token]`` and the entropy, both in fp32 and one a token.

    Args:
        hidden: last hidden states, states × width.
        weight: the frozen head, vocabulary × width.
        tokens: the tokens that are asked about.
        temperature: the same as in sampling, or the two disagree about what was probable.
        readers: which hidden state each token is asked of; without it, one token is asked of each.
    """
    readers = torch.arange(len(tokens), device=tokens.device) if readers is None else readers
    return _TokenLogprobs.apply(hidden, weight, tokens, readers, temperature)  # pyright: ignore[reportReturnType]
