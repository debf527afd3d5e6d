"""Log-probabilities and entropies in blocks are those of the whole softmax, in value and gradient."""

import pytest
import torch

from rllm_assets.models import head
from rllm_assets.models.head import token_logprobs


@pytest.fixture(params=[(512, 4096), (3, 7), (1, 1), (4, 50)])
def blocks(request, monkeypatch):
    monkeypatch.setattr(head, "ON_CPU", request.param)


def whole(hidden, weight, temperature):
    logprobs = (hidden.double() @ weight.double().T / temperature).log_softmax(-1)
    return logprobs, -(logprobs.exp() * logprobs).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_they_are_those_of_the_whole_softmax(blocks, temperature):
    torch.manual_seed(0)
    hidden, weight = torch.randn(11, 8, requires_grad=True), 3 * torch.randn(50, 8)
    tokens = torch.randint(0, 50, (11,))
    expected, entropy = whole(hidden, weight, temperature)
    expected = expected[torch.arange(11), tokens]
    found, entropies = token_logprobs(hidden, weight, tokens, temperature)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(entropies.double(), entropy, atol=1e-5, rtol=1e-5)
    by = torch.linspace(-1, 2, 11)
    (gradient,) = torch.autograd.grad((found * by).sum(), hidden)
    (known,) = torch.autograd.grad((expected * by).sum(), hidden)
    torch.testing.assert_close(gradient, known, atol=1e-5, rtol=1e-4)


def test_in_bfloat16_only_the_products_are_rounded(blocks):
    torch.manual_seed(2)
    hidden, weight = torch.randn(11, 8).bfloat16().requires_grad_(), torch.randn(50, 8).bfloat16()
    tokens = torch.randint(0, 50, (11,))
    expected, entropy = whole(hidden, weight, 1.0)
    expected = expected[torch.arange(11), tokens]
    found, entropies = token_logprobs(hidden, weight, tokens, 1.0)
    assert found.dtype == entropies.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=0.03, rtol=0)
    torch.testing.assert_close(entropies.double(), entropy, atol=0.03, rtol=0)
    (gradient,) = torch.autograd.grad(found.sum(), hidden)
    (known,) = torch.autograd.grad(expected.sum(), hidden)
    torch.testing.assert_close(gradient.double(), known.double(), atol=0.03, rtol=0)


def test_several_tokens_may_be_asked_of_one_state_and_none_of_another(blocks):
    torch.manual_seed(1)
    hidden, weight = torch.randn(6, 8, requires_grad=True), torch.randn(50, 8)
    readers, tokens = torch.tensor([4, 0, 0, 2, 4, 0]), torch.tensor([9, 49, 0, 7, 9, 49])
    found, entropies = token_logprobs(hidden, weight, tokens, 1.0, readers)
    expected, expected_entropies = token_logprobs(hidden[readers], weight, tokens, 1.0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(entropies, expected_entropies)
    by = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.25, 1.0])
    (gradient,) = torch.autograd.grad((found * by).sum(), hidden, retain_graph=True)
    (known,) = torch.autograd.grad((expected * by).sum(), hidden)
    torch.testing.assert_close(gradient, known)
    assert gradient[[1, 3, 5]].abs().max() == 0


def test_logits_far_from_zero_lose_nothing(blocks):
    """The largest logit comes in the last block, a thousand above the others."""
    hidden = torch.tensor([[1.0]])
    weight = torch.tensor([*([0.0] * 49), 1000.0])[:, None]
    found, entropies = token_logprobs(hidden, weight, torch.tensor([49]), 1.0)
    assert (found.tolist(), entropies.tolist()) == ([0.0], [0.0])
