"""A base in four bits: it trains, and the sampler answers as the trainer sees it."""

import pytest
import torch

from rllm_assets.config import ModelConfig
from rllm_assets.models import loading
from rllm_assets.models.embedded import ModelError
from rllm_assets.models.packing import pack
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sampler
from tests.tiny import make_tiny_model

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12]]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """Rows of 64: bitsandbytes has a scale for 64 weights, and its kernels for CPUs do not take narrower rows."""
    return make_tiny_model(tmp_path_factory.mktemp("wider"), hidden_size=64, intermediate_size=128)


@pytest.fixture
def policy(tiny_model):
    policy = Policy(
        ModelConfig(name=str(tiny_model), dtype="float32", sampler_dtype="float32", quantization="nf4", lora_rank=4),
        seed=1,
    )
    generator = torch.Generator().manual_seed(2)
    for parameter in policy.policy_parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


def test_weights_are_four_bits_and_stand_for_numbers_near_the_base(policy, tiny_model):
    plain = Policy(ModelConfig(name=str(tiny_model), dtype="float32", lora_rank=4))
    for layer, whole in zip(policy.lora_weights(), plain.lora_weights(), strict=True):
        assert layer.base.weight.dtype == torch.uint8
        assert layer.base.weight.numel() == whole.weight.numel() // 2
        difference = (layer.weight - whole.weight).abs()
        assert 0 < difference.mean() < 0.1 * whole.weight.abs().mean()


def test_the_sampler_merges_into_what_the_trainer_multiplies(policy):
    sampler = Sampler(policy)
    sampler.refresh()
    drawn = sampler.sample(PROMPTS, 3, temperature=0.8, max_tokens=12, seeds=[1, 2])
    packed = pack([(p, [s.token_ids for s in group]) for p, group in zip(PROMPTS, drawn, strict=True)], policy.device)
    with torch.no_grad():
        logprobs = policy.logprobs(packed, 0.8)[0]
    told = torch.tensor([logprob for group in drawn for sample in group for logprob in sample.logprobs])
    torch.testing.assert_close(told, logprobs, atol=2e-3, rtol=1e-3)


def test_every_adapted_layer_learns_and_the_reference_is_the_base(policy):
    packed = pack([(PROMPTS[0], [[20, 21, 0]])], policy.device)
    policy.logprobs(packed, 1.0)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in policy.policy_parameters())
    with torch.no_grad(), policy.reference():
        reference = policy.logprobs(packed, 1.0)[0]
    for parameter in policy.policy_parameters():
        parameter.data.zero_()
    with torch.no_grad():
        torch.testing.assert_close(policy.logprobs(packed, 1.0)[0], reference)


def test_without_bitsandbytes_it_says_how_to_get_it(tiny_model, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"nf4 needs bitsandbytes; pip install 'rllm_assets\[quantized\]'"):
        Policy(ModelConfig(name=str(tiny_model), quantization="nf4"))
