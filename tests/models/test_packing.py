"""Packed groups with a shared prompt give the logits of plain, separate sequences."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from rllm_assets.config import ModelConfig
from rllm_assets.models.packing import pack
from rllm_assets.models.policy import Policy

GROUPS = [
    ([5, 6, 7, 8, 9], [[10, 11, 12], [13], [14, 15, 16, 17]]),
    ([20, 21], [[22, 23], [24, 25, 26]]),
    ([30, 31, 32], [[33]]),
]
# Answers that begin alike, one of them twice, one the beginning of another.
ALIKE = ([40, 41], [[50, 51, 52], [50, 51, 60, 61], [50, 51, 52], [70], [50, 51], [51, 50, 51]])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def policy(tiny_model):
    policy = Policy(ModelConfig(name=str(tiny_model), dtype="float32", lora_rank=4), critic=True, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in (*policy.policy_parameters(), *policy.critic_parameters()):
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


def plain_logprobs(model, temperature, groups=(*GROUPS, ALIKE)):
    expected = []
    for prompt, responses in groups:
        for response in responses:
            logits = model(torch.tensor([[*prompt, *response]])).logits[0].float() / temperature
            rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
            expected.append(rows[torch.arange(len(response)), torch.tensor(response)])
    return torch.cat(expected)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_separate_sequences_with_peft(policy, tiny_model, tmp_path, temperature):
    from peft import PeftModel

    policy.save_adapter(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    reference = PeftModel.from_pretrained(base, tmp_path)
    logprobs, _ = policy.logprobs(pack([*GROUPS, ALIKE], CPU), temperature)
    torch.testing.assert_close(logprobs, plain_logprobs(reference, temperature), atol=2e-5, rtol=0)


def test_reference_is_the_base_and_comes_back(policy, tiny_model):
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    packed = pack([*GROUPS, ALIKE], CPU)
    adapted = policy.logprobs(packed, 1.0)[0]
    with policy.reference():
        torch.testing.assert_close(policy.logprobs(packed, 1.0)[0], plain_logprobs(base, 1.0), atol=2e-5, rtol=0)
    torch.testing.assert_close(policy.logprobs(packed, 1.0)[0], adapted, atol=0, rtol=0)
    assert (adapted - plain_logprobs(base, 1.0)).abs().max() > 0.01


def test_gradients_are_those_of_separate_sequences_with_peft(policy, tiny_model, tmp_path):
    from peft import PeftModel

    policy.save_adapter(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    reference = PeftModel.from_pretrained(base, tmp_path, is_trainable=True)
    weights = torch.linspace(-1, 1, len(pack([*GROUPS, ALIKE], CPU).targets))
    (plain_logprobs(reference, 0.7) * weights).sum().backward()
    expected = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None}
    (policy.logprobs(pack([*GROUPS, ALIKE], CPU), 0.7)[0] * weights).sum().backward()
    found = [parameter.grad for parameter in policy.policy_parameters()]
    by_name = {
        f"{w.name}.lora_{m}": g
        for w, pair in zip(policy.lora_weights(), zip(found[::2], found[1::2], strict=True), strict=True)
        for m, g in zip("AB", pair, strict=True)
    }
    assert len(by_name) == len(expected) == 28
    for name, gradient in by_name.items():
        torch.testing.assert_close(gradient, expected[f"base_model.model.{name}.default.weight"], atol=1e-5, rtol=1e-4)
    for parameter in policy.policy_parameters():
        parameter.grad = None


def test_what_answers_begin_with_alike_is_computed_once():
    packed = pack([ALIKE], CPU)
    assert packed.token_ids.tolist() == [40, 41, 50, 51, 60, 51, 50]
    assert packed.layout.position_ids.tolist() == [0, 1, 2, 3, 4, 2, 3]
    assert packed.readers.tolist() == [1, 2, 3, 4, 5, 6]
    assert packed.readers[packed.reader_of].tolist() == [1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 1, 1, 2, 1, 5, 6]
    assert packed.lengths == (3, 4, 3, 1, 2, 3)


def test_entropy_is_that_of_the_distribution(policy):
    packed = pack(GROUPS[:1], CPU)
    with torch.no_grad(), policy.reference():
        _, entropies = policy.logprobs(packed, 1.0)
    assert entropies.shape == (8,)
    assert (entropies > 0).all()
    assert (entropies < torch.tensor(262.0).log()).all()


def test_values_start_at_zero_and_use_the_critics_own_adapter(tiny_model):
    policy = Policy(ModelConfig(name=str(tiny_model), dtype="float32", lora_rank=4), critic=True)
    packed = pack(GROUPS, CPU)
    assert policy.values(packed).tolist() == [0.0] * 14
    policy.critic_head.weight.data.fill_(0.1)
    policy.values(packed).sum().backward()
    assert all(p.grad is None for p in policy.policy_parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in policy.critic_parameters()[1:-2:2])


def test_value_reads_the_hidden_state_before_its_token(policy):
    one = policy.values(pack([([5, 6], [[7, 8, 9]])], CPU))
    other = policy.values(pack([([5, 6], [[7, 8, 50]])], CPU))
    torch.testing.assert_close(one, other, atol=0, rtol=0)


GIVEN = [[(False, True, False), None, (False, True, True, False)], [(True, False), None], [None]]


def test_observations_are_read_and_not_predicted(policy):
    packed = pack(GROUPS, CPU, GIVEN)
    whole = pack(GROUPS, CPU)
    sampled = [
        not given
        for (_, responses), masks in zip(GROUPS, GIVEN, strict=True)
        for response, mask in zip(responses, masks, strict=True)
        for given in (mask or [False] * len(response))
    ]
    assert packed.token_ids.tolist() == whole.token_ids.tolist()
    assert packed.targets.tolist() == [10, 12, 13, 14, 17, 23, 24, 25, 26, 33]
    assert packed.lengths == (2, 1, 2, 1, 3, 1)
    expected = policy.logprobs(whole, 0.7)[0][torch.tensor(sampled)]
    torch.testing.assert_close(policy.logprobs(packed, 0.7)[0], expected, atol=1e-6, rtol=0)
