"""The sampler draws what the policy says, remembers how probable it was, and does not care what is sampled beside it."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from rllm_assets.config import ModelConfig
from rllm_assets.models.branches import Branches
from rllm_assets.models.packing import pack
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sampler
from tests.tiny import make_tiny_model

PROMPTS = [[5, 6, 7, 8, 9], [20, 21], [30, 31, 32, 33, 34, 35, 36]]


def moved(policy, far):
    """The policy away from its base, as training would have moved it."""
    generator = torch.Generator().manual_seed(2)
    for parameter in policy.policy_parameters():
        parameter.data += far * torch.randn(parameter.shape, generator=generator)
    return policy


@pytest.fixture(scope="module")
def policy(tiny_model):
    config = ModelConfig(name=str(tiny_model), dtype="float32", sampler_dtype="float32", lora_rank=4)
    return moved(Policy(config, seed=1), 0.05)


@pytest.fixture
def sampler(policy):
    sampler = Sampler(policy)
    sampler.refresh()
    return sampler


def draw(sampler, prompts=PROMPTS, samples=6, seeds=(1, 2, 3), **options):
    settings = {"temperature": 0.9, "max_tokens": 40} | options
    return sampler.sample(prompts, samples, seeds=seeds[: len(prompts)], **settings)


def recorded_and_known(policy, answers, temperature=1.0):
    """The log-probabilities that were noted in sampling, and those of the policy."""
    packed = pack([(p, [a.token_ids for a in group]) for p, group in zip(PROMPTS, answers, strict=True)], policy.device)
    recorded = torch.tensor([lp for group in answers for a in group for lp in a.logprobs])
    return recorded, policy.logprobs(packed, temperature)[0].detach()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_recorded_logprobs_are_the_policys(policy, sampler, temperature):
    answers = draw(sampler, temperature=temperature)
    torch.testing.assert_close(*recorded_and_known(policy, answers, temperature), atol=5e-5, rtol=0)


def test_greedy_is_what_generate_says(policy, sampler, tiny_model, tmp_path):
    from peft import PeftModel

    policy.save_adapter(tmp_path)
    reference = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), tmp_path
    )
    for prompt, (answer,) in zip(PROMPTS, draw(sampler, samples=1, temperature=0), strict=True):
        output = reference.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=40, do_sample=False
        )
        assert answer.token_ids == output[0, len(prompt) :].tolist()


def test_answers_do_not_depend_on_what_is_sampled_beside_them(sampler):
    together = draw(sampler)
    alone = [draw(sampler, prompts=[prompt], seeds=(seed,))[0] for prompt, seed in zip(PROMPTS, (1, 2, 3), strict=True)]
    assert [[a.token_ids for a in group] for group in together] == [[a.token_ids for a in group] for group in alone]


def test_waves_change_nothing(sampler, monkeypatch):
    together = draw(sampler)
    monkeypatch.setattr("rllm_assets.models.sampler.MAX_ROWS", 7)
    assert [[a.token_ids for a in g] for g in draw(sampler)] == [[a.token_ids for a in g] for g in together]


def test_a_cache_that_has_to_grow_changes_nothing(sampler, monkeypatch):
    whole = draw(sampler)
    monkeypatch.setattr("rllm_assets.models.cache.ROOM", 3)
    assert [[a.token_ids for a in g] for g in draw(sampler)] == [[a.token_ids for a in g] for g in whole]


def test_greedy_and_sampled_answers_come_together(sampler):
    mixed = draw(sampler, samples=3, temperature=[0.9, 0.9, 0.0])
    sampled, greedy = draw(sampler, samples=2), draw(sampler, samples=1, temperature=0.0)
    assert [[a.token_ids for a in group[:2]] for group in mixed] == [[a.token_ids for a in g] for g in sampled]
    assert [group[2].token_ids for group in mixed] == [group[0].token_ids for group in greedy]


def test_answers_that_agree_so_far_are_computed_once(sampler, monkeypatch):
    widths = []
    whole = Branches.grow
    monkeypatch.setattr(Branches, "grow", lambda self, children: widths.append(len(children)) or whole(self, children))
    answers = draw(sampler, samples=20, temperature=0.4)
    prefixes = [
        {tuple(a.token_ids[: n + 1]) for a in g if len(a.token_ids) > n + 1} for n in range(39) for g in answers
    ]
    assert widths == [sum(map(len, prefixes[i : i + 3])) for i in range(0, len(prefixes), 3)][: len(widths)]
    assert widths[0] < 60


def test_seeds_matter(sampler):
    assert draw(sampler) != draw(sampler, seeds=(4, 5, 6))


def test_an_answer_ends_at_the_end_token_or_at_the_limit(sampler):
    answers = [a for group in draw(sampler, samples=40, temperature=1.5) for a in group]
    ended = [a for a in answers if a.finished]
    assert ended
    assert all(a.token_ids[-1] == 0 and 0 not in a.token_ids[:-1] for a in ended)
    assert all(len(a.token_ids) == 40 and 0 not in a.token_ids for a in answers if not a.finished)


def test_an_answer_ends_when_the_stop_rule_says_so(sampler):
    asked = []

    def stop(text):
        asked.append(text)
        return text.count("`") >= 2

    answers = [a for group in draw(sampler, samples=60, temperature=2.0, stop=stop) for a in group]
    stopped = [a for a in answers if a.text.count("`") >= 2]
    assert stopped
    assert all(a.finished and a.text.endswith("`") and a.text.count("`") in (2, 3, 4) for a in stopped)
    assert all("`" in text for text in asked)


def test_frequencies_are_the_distribution(policy, sampler):
    """10,000 first tokens of one prompt against their probabilities."""
    from scipy.stats import chisquare

    answers = sampler.sample([PROMPTS[0]], 10_000, temperature=1.0, max_tokens=1, seeds=[11])[0]
    counts = torch.bincount(torch.tensor([a.token_ids[0] for a in answers]), minlength=262).double()
    every_token = [[token] for token in range(262)]
    probabilities = policy.logprobs(pack([(PROMPTS[0], every_token)], policy.device), 1.0)[0].detach().exp().double()
    common = probabilities > 5e-4
    observed = torch.cat([counts[common], counts[~common].sum()[None]])
    expected = torch.cat([probabilities[common], probabilities[~common].sum()[None]])
    assert chisquare(observed.numpy(), (expected / expected.sum() * 10_000).numpy()).pvalue > 1e-3


def test_use_base_forgets_the_adapter(policy, sampler):
    fresh = Sampler(policy)
    assert draw(fresh) != draw(sampler)
    sampler.use_base()
    assert draw(fresh) == draw(sampler)


@pytest.fixture(scope="module")
def other_models(tmp_path_factory):
    """Models of other families and shapes: how they differ from the tiny one."""
    shapes = {
        "mistral": {"family": "mistral"},
        "qwen2": {"family": "qwen2"},
        # Queries and keys are normed: not one of the families whose layers we compute ourselves.
        "qwen3": {"family": "qwen3", "head_dim": 8},
        "wide heads": {
            "hidden_size": 384,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "initializer_range": 0.08,
        },
        "gelu": {"hidden_act": "gelu"},
        "untied": {"tie_word_embeddings": False},
    }
    return {name: make_tiny_model(tmp_path_factory.mktemp("model"), **shape) for name, shape in shapes.items()}


OTHERS = ["mistral", "qwen2", "qwen3", "wide heads", "gelu", "untied"]


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "down_proj")], ids=["all", "some"])
@pytest.mark.parametrize("name", OTHERS)
def test_every_family_samples_from_its_policy(other_models, name, targets):
    config = ModelConfig(
        name=str(other_models[name]), dtype="float32", sampler_dtype="float32", lora_rank=4, lora_targets=targets
    )
    policy = moved(Policy(config, seed=1), 0.05)
    sampler = Sampler(policy)
    sampler.refresh()
    answers = draw(sampler, temperature=1.0)
    torch.testing.assert_close(*recorded_and_known(policy, answers), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["wide heads", "qwen2", "qwen3"])
def test_in_bfloat16_they_agree_up_to_rounding(other_models, name):
    """With wide heads, kernels do all that lies between the matrix products."""
    config = ModelConfig(name=str(other_models[name]), dtype="float32", sampler_dtype="bfloat16", lora_rank=4)
    policy = moved(Policy(config, seed=1), 0.02)
    sampler = Sampler(policy)
    sampler.refresh()
    answers = draw(sampler, samples=9, temperature=1.0, max_tokens=70)
    recorded, known = recorded_and_known(policy, answers)
    assert (recorded - known).abs().mean() < 0.04
    alone = [
        draw(sampler, [p], 9, (seed,), temperature=1.0, max_tokens=70)[0]
        for p, seed in zip(PROMPTS, (1, 2, 3), strict=True)
    ]
    assert (
        sum(a.token_ids == b.token_ids for x, y in zip(answers, alone, strict=True) for a, b in zip(x, y, strict=True))
        > 20
    )


def test_refreshed_weights_are_those_of_the_moment(policy):
    """Nothing is left of what was written before."""
    config = policy.config.model_copy(update={"sampler_dtype": "bfloat16"})
    first, second = moved(Policy(config, seed=1), 0.05), moved(Policy(config, seed=1), 0.05)
    samplers = Sampler(first), Sampler(second)
    for sampler in samplers:
        sampler.refresh()
    samplers[0].use_base()
    samplers[0].refresh()
    assert draw(samplers[0]) == draw(samplers[1])
    samplers[0].use_base()
    assert draw(samplers[0]) != draw(samplers[1])
