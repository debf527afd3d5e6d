"""Kernels say what torch says in fp32, rounded once, whatever the sizes, and of each row the same whatever is beside it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import silu

from rllm_assets.models import kernels

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    not kernels.are_usable(torch.bfloat16, CPU), reason="the kernels were not built: there was no C++ compiler"
)

sizes = st.integers(1, 100)


def drawn(*shape, seed=0, scale=1.0):
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))).bfloat16()


def assert_rounded(found, exact, steps=1.01):
    """At most so many halves of a step of bfloat16 away from the exact number, beside fp32's own rounding."""
    torch.testing.assert_close(found.double(), exact.double(), rtol=steps * 2**-8, atol=2e-6)


@given(sizes, sizes)
def test_rms_norm(rows, width):
    x, weight, grad = drawn(rows, width), drawn(width, seed=1), drawn(rows, width, seed=2)
    wide = x.double().requires_grad_()
    exact = wide * (wide.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() * weight.double()
    found, inverse = kernels.rms_norm(x, weight, 1e-5)
    assert_rounded(found, exact)
    (known,) = torch.autograd.grad(exact, wide, grad.double())
    assert_rounded(kernels.rms_norm_backward(x, weight, inverse, grad), known, 1.1 + width / 8)


@given(sizes, sizes, st.sampled_from([0.1, 1.0, 100.0]))
def test_silu_gated(rows, width, scale):
    both, grad = drawn(rows, 2 * width, scale=scale), drawn(rows, width, seed=2)
    gate, up = (part.double().requires_grad_() for part in both.chunk(2, dim=1))
    exact = silu(gate) * up
    assert_rounded(kernels.silu_gated(*both.chunk(2, dim=1)), exact)
    known = torch.autograd.grad(exact, (gate, up), grad.double())
    for found, by in zip(kernels.silu_gated_backward(*both.chunk(2, dim=1), grad), known, strict=True):
        torch.testing.assert_close(found.double(), by, rtol=2**-8, atol=1e-5 * scale)


@given(sizes, st.integers(1, 5), st.sampled_from([2, 6, 32, 64, 80]))
def test_rotate_and_turn_back(rows, heads, size):
    whole = drawn(rows, heads + 2, size)
    x, angle = whole[:, 1 : heads + 1], torch.rand(rows, size // 2).repeat(1, 2)
    cos, sin = angle.cos().bfloat16(), angle.sin().bfloat16()
    first, second = x.double().chunk(2, dim=-1)
    exact = x.double() * cos.double()[:, None] + torch.cat([-second, first], dim=-1) * sin.double()[:, None]
    found = kernels.rotate(x, cos, sin)
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)
    # Turning forth and back scales by cos² + sin², which is 1 up to their rounding.
    torch.testing.assert_close(kernels.rotate(found, cos, sin, back=True).float(), x.float(), rtol=0.02, atol=0.02)


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 70))
def test_causal_softmax(repeat, queries, offset):
    keys = offset + queries
    scores, grad = drawn(2, repeat * queries, keys, scale=3), drawn(2, repeat * queries, keys, seed=1)
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(offset).repeat(repeat, 1)
    wide = scores.double().requires_grad_()
    exact = (0.3 * wide).masked_fill(~seen, float("-inf")).softmax(-1)
    weights = kernels.causal_softmax_(scores.clone(), queries, offset, 0.3)
    assert_rounded(weights, exact)
    assert not weights[:, ~seen].any()
    (known,) = torch.autograd.grad(exact, wide, grad.double())
    torch.testing.assert_close(
        kernels.causal_softmax_backward_(weights, grad.clone(), 0.3).double(), known, rtol=0.02, atol=0.005
    )


@given(st.integers(1, 9), st.lists(st.integers(1, 70), min_size=1, max_size=4), st.sampled_from([0.5, 1.0, 30.0]))
def test_online_softmax(rows, blocks, scale):
    logits = drawn(rows, sum(blocks), scale=4)
    largest, total, moment = torch.full((rows,), -1e30), torch.zeros(rows), torch.zeros(rows)
    kept = torch.zeros(rows)
    for block in logits.split(blocks, dim=1):
        weights = block.clone(memory_format=torch.contiguous_format)
        shrink = kernels.online_softmax_(weights, largest, total, moment, scale)
        kept = kept * shrink + weights.float().sum(-1)
    exact = scale * logits.double()
    torch.testing.assert_close((largest + total.log()).double(), exact.logsumexp(-1), rtol=1e-5, atol=1e-5)
    entropy = torch.distributions.Categorical(logits=exact).entropy()
    torch.testing.assert_close((total.log() - moment / total).double(), entropy, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kept, total, rtol=2**-8, atol=0)


@pytest.mark.parametrize("function", ["rms_norm", "silu_gated", "causal_softmax_", "online_softmax_"])
def test_a_row_is_the_same_alone(function):
    x = drawn(37, 50)

    def computed(part):
        return {
            "rms_norm": lambda: kernels.rms_norm(part, drawn(50), 1e-5)[0],
            "silu_gated": lambda: kernels.silu_gated(part, part),
            "causal_softmax_": lambda: kernels.causal_softmax_(part.clone()[None], 1, 49, 0.3)[0],
            "online_softmax_": lambda: kernels.online_softmax_(part.clone(), *torch.zeros(3, len(part)).unbind(), 1.0),
        }[function]()

    together = computed(x)
    assert all(torch.equal(computed(x[n : n + 1])[0], together[n]) for n in range(len(x)))


def test_no_number_stays_none():
    x = drawn(2, 70)
    x[0, 3] = float("nan")
    assert kernels.rms_norm(x, drawn(70), 1e-5)[0][0].isnan().all()
    assert kernels.silu_gated(x, x)[0, 3].isnan()
    assert kernels.causal_softmax_(x.clone()[None], 1, 69, 1.0)[0, 0].isnan().all()
    assert kernels.causal_softmax_(x.clone()[None], 1, 69, 1.0)[0, 1].isfinite().all()
