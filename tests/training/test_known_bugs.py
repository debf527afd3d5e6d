"""Bugs that other trainers had, where no other test keeps them out; docs/training.md lists all of them with their tests."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.config import ModelConfig, TrainingConfig
from rllm_assets.models.packing import pack
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sampler
from rllm_assets.rollouts import prompt_tokens
from rllm_assets.training.advantages import GROUP_ADVANTAGES, whiten
from rllm_assets.training.algorithms import algorithm_of
from rllm_assets.training.batches import TrainingSample, with_batch_advantages, with_critic_advantages
from rllm_assets.training.collective import Alone
from rllm_assets.training.divergence import kl_to_base
from rllm_assets.training.trainer import Trainer
from rllm_assets.training.update import Optimizers, Updater
from tests.tiny import make_tiny_model
from tests.training.small_runs import RaggedVerifier, small_config, small_data

END = 0  # of the tiny model: also what it pads with
CPU = torch.device("cpu")


def tiny_policy(model, critic=False, **changes):
    config = ModelConfig.model_validate({"name": str(model), "dtype": "float32", "lora_rank": 4, **changes})
    policy = Policy(config, critic=critic, seed=1)
    move(policy, 2)
    return policy


def move(policy, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in (*policy.policy_parameters(), *policy.critic_parameters()):
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)


def answer(group, ids, reward, **changes):
    sampled = len(ids) - sum(changes.get("given") or ())
    sample = TrainingSample(group, [5, 6, 7], ids, -torch.ones(sampled), reward, ids[-1] == END, torch.zeros(sampled))
    return replace(sample, **changes)


def updated(policy, samples, **changes):
    training = TrainingConfig.model_validate({"max_steps": 1, "max_grad_norm": 1e9, **changes})
    optimizers = Optimizers.for_policy(policy, training)
    updater = Updater(policy, algorithm_of(training), training, optimizers, Alone())
    return updater.update(samples, 0, 16)


def copies(parameters):
    return [parameter.detach().clone() for parameter in parameters]


def test_the_end_token_is_learned_although_it_is_the_padding_too(tiny_model):
    """trl #4970: masks made of `ids != pad` take every stop out of the loss."""
    policy = tiny_policy(tiny_model)
    packed = pack([([5, 6, 7], [[END]])], CPU)
    before = policy.logprobs(packed, 1.0)[0].item()
    metrics = updated(policy, [answer(0, [END], 1.0), answer(0, [9, END], 0.0)], learning_rate=1e-2)
    assert metrics.tokens == 3
    assert policy.logprobs(packed, 1.0)[0].item() > before + 0.1


@pytest.mark.parametrize("end", [0, 77])
def test_every_end_token_of_the_model_ends_an_answer(tmp_path, end):
    """trl #6369: an answer counted as truncated where its last token was the second of two end tokens."""
    sampler = Sampler(tiny_policy(make_tiny_model(tmp_path, eos_token_id=[0, 77]), sampler_dtype="float32"))
    answers = sampler.sample([[5, 6, 7]], 200, temperature=2.0, max_tokens=30, seeds=[1])[0]
    ended = [a for a in answers if a.token_ids[-1] == end]
    assert ended
    assert all(a.finished and len(a.token_ids) == len(a.logprobs) for a in ended)
    assert all(not {0, 77} & set(a.token_ids) for a in answers if not a.finished)


def test_what_is_left_out_of_the_loss_is_counted_in_the_lengths(tiny_model, tmp_path):
    """trl #3476: the lengths that were told were those of the mask."""
    told = []
    for name, filtering in (("all", []), ("filtered", ["truncated"])):
        config = small_config(tiny_model, training={"max_steps": 1, "compact_filtering": filtering})
        result = Trainer(config, small_data(), tmp_path / name, RaggedVerifier()).run()
        told.append(result.metrics[1])
    assert told[0]["truncated_rate"] == told[1]["truncated_rate"] > 0
    assert told[0]["response_tokens"] == told[1]["response_tokens"]
    assert told[0]["trained_tokens"] > told[1]["trained_tokens"]


def test_numbers_of_masked_answers_that_are_none_do_not_leak(tiny_model):
    """SkyRL: `x * mask` lets NaN through."""
    good = [answer(0, [9, END], 1.0), answer(0, [8, 7, END], 0.0)]
    bad = answer(0, [6, 5], 0.5, masked=True, sampler_logprobs=torch.full((2,), float("nan")))
    for algorithm in ("grpo_plus", "reinforce_pp", "ppo"):
        metrics = updated(tiny_policy(tiny_model, critic=algorithm == "ppo"), [*good, bad], algorithm=algorithm)
        assert metrics.bad_losses == 0
        assert metrics.grad_norms


@pytest.mark.parametrize("name", sorted(GROUP_ADVANTAGES))
def test_a_group_of_one_is_a_number(name):
    """A deviation of one number is none."""
    expected = 0.7 if name == "rloo" else 0.0
    assert GROUP_ADVANTAGES[name](torch.tensor([0.7])).tolist() == pytest.approx([expected])


def test_whitening_one_token_is_a_number():
    """SkyRL raises where a mask sums to one."""
    assert whiten([torch.tensor([3.0])])[0].tolist() == [0.0]


rewards_and_gaps = st.lists(st.booleans(), min_size=1, max_size=8)


@given(rewards_and_gaps, st.floats(0.5, 1), st.floats(0, 1))
def test_observations_do_not_exist_for_generalized_advantages(gaps, discount, gae_lambda):
    """verl #2337 and #7278, miles #1827: a reward on an observation vanished, and values of observations were read."""
    given_to = tuple(gaps)
    sampled = [10 + i for i in range(4)]
    values = torch.tensor([0.3, -0.2, 0.5, 0.1])
    plain = answer(0, sampled, 1.0, old_values=values)
    # Observations before, between and after what was sampled.
    ids = [*(90 for _ in gaps), *sampled[:2], *(91 for _ in gaps), *sampled[2:], *(92 for _ in gaps)]
    mask = (*[True] * len(given_to), False, False, *[True] * len(given_to), False, False, *[True] * len(given_to))
    told = answer(0, ids, 1.0, given=mask, old_values=values)
    other = answer(1, sampled, 0.0, old_values=torch.zeros(4))
    nothing = [torch.zeros(4), torch.zeros(4)]
    (found, _), _ = with_critic_advantages([told, other], nothing, discount, gae_lambda)
    (expected, _), _ = with_critic_advantages([plain, other], nothing, discount, gae_lambda)
    assert found.length == 4
    torch.testing.assert_close(found.advantages, expected.advantages)
    torch.testing.assert_close(found.returns, expected.returns)


def test_returns_are_taken_before_whitening():
    samples = [answer(g, [9, 8], reward, old_values=torch.tensor([0.25, 0.5])) for g, reward in enumerate((1.0, 0.0))]
    found, _ = with_critic_advantages(samples, [torch.zeros(2)] * 2, 1.0, 1.0)
    assert [s.returns.tolist() for s in found if s.returns is not None] == [[1.0, 1.0], [0.0, 0.0]]
    assert float(torch.cat([s.advantages for s in found]).mean()) == pytest.approx(0, abs=1e-6)


def test_k1_is_taken_from_the_reward_at_each_sampled_token():
    """In a loss its expected gradient is zero. Rewards to go: each token answers for what comes after it, too."""
    penalty = torch.tensor([0.1, 0.2, 0.4])
    samples = [answer(0, [9, 8, 7], 1.0), answer(1, [9], 0.0)]
    algorithm = algorithm_of(TrainingConfig(max_steps=1, algorithm="reinforce_pp"))
    found = with_batch_advantages(samples, algorithm, [penalty, torch.zeros(1)], 1.0)
    raw = torch.tensor([1 - 0.7, 1 - 0.6, 1 - 0.4, 0.0])
    expected = (raw - raw.mean()) / (raw.std() + 1e-8)
    torch.testing.assert_close(torch.cat([s.advantages for s in found]), expected)


def test_k1_in_the_reward_has_no_gradient_of_its_own(tiny_model):
    """With rewards that all come out the same, KL included, nothing moves."""
    policy = tiny_policy(tiny_model)
    before = copies(policy.policy_parameters())
    same = [answer(0, [9, END], 1.0), answer(0, [9, END], 1.0)]
    metrics = updated(policy, same, kl_coefficient=0.5, kl_estimator="k1", learning_rate=0.1)
    assert metrics.tokens == 0
    for parameter, old in zip(policy.policy_parameters(), before, strict=True):
        torch.testing.assert_close(parameter, old, atol=0, rtol=0)


def test_the_divergence_is_that_of_the_tokens_of_the_first_answers(tiny_model):
    policy = tiny_policy(tiny_model)
    samples = [answer(0, [9, END], 1.0), answer(0, [8, 7, END], 0.0), answer(1, [6, 5, 4], 0.0)]
    packed = pack([([5, 6, 7], [[9, END]]), ([5, 6, 7], [[6, 5, 4]])], CPU)
    with policy.reference(), torch.no_grad():
        d = -torch.ones(5) - policy.logprobs(packed, 0.7)[0]
    expected = float(((-d).exp() + d - 1).mean())
    assert kl_to_base(policy, samples, 0.7, 4, Alone()) == pytest.approx(expected, rel=1e-5)
    assert kl_to_base(policy, [], 0.7, 4, Alone()) is None


def test_the_critic_head_is_fp32_and_says_nothing_at_first(tiny_model):
    policy = Policy(ModelConfig(name=str(tiny_model), dtype="bfloat16"), critic=True)
    assert policy.critic_head is not None
    assert policy.critic_head.weight.dtype == torch.float32
    assert policy.values(pack([([5, 6], [[7, 8]])], CPU)).tolist() == [0.0, 0.0]


def test_switching_adapters_freezes_none_and_comes_back_after_an_error(tiny_model):
    """PEFT's own switch takes requires_grad from the adapter that it leaves."""
    policy = tiny_policy(tiny_model, critic=True)
    packed = pack([([5, 6], [[7, 8]])], CPU)
    before = policy.logprobs(packed, 1.0)[0].detach()
    policy.values(packed)
    with pytest.raises(RuntimeError, match="on purpose"), policy.reference():
        raise RuntimeError("on purpose")
    with pytest.raises(AttributeError):
        policy.values(None)
    torch.testing.assert_close(policy.logprobs(packed, 1.0)[0].detach(), before, atol=0, rtol=0)
    parameters = (*policy.policy_parameters(), *policy.critic_parameters())
    assert all(parameter.requires_grad for parameter in parameters)
    assert len({id(parameter) for parameter in parameters}) == len(parameters)


def test_the_policys_step_leaves_the_critic_alone(tiny_model):
    policy = tiny_policy(tiny_model, critic=True)
    before = copies(policy.critic_parameters())
    training = TrainingConfig(max_steps=1)
    Updater(policy, algorithm_of(training), training, Optimizers.for_policy(policy, training), Alone())
    packed = pack([([5, 6], [[7, 8]])], CPU)
    policy.logprobs(packed, 1.0)[0].sum().backward()
    assert all(parameter.grad is None for parameter in policy.critic_parameters())
    for parameter, old in zip(policy.critic_parameters(), before, strict=True):
        torch.testing.assert_close(parameter, old, atol=0, rtol=0)


def test_merging_again_and_again_drifts_by_nothing(tiny_model):
    """trl #6688: merging and unmerging in bfloat16 moved weights by 28% in a hundred steps."""
    policy = tiny_policy(tiny_model, sampler_dtype="bfloat16")
    often, once = Sampler(policy), Sampler(policy)
    for _ in range(100):
        often.refresh()
        often.use_base()
    often.refresh()
    once.refresh()
    prompts, options = [[5, 6, 7], [8, 9]], {"temperature": 1.0, "max_tokens": 8, "seeds": [1, 2]}
    assert often.sample(prompts, 4, **options) == once.sample(prompts, 4, **options)


def test_what_was_learned_is_sampled_from(tiny_model):
    """verl #7495: for two months the sampler went on with the adapter that it had."""
    policy = tiny_policy(tiny_model, sampler_dtype="float32")
    sampler = Sampler(policy)
    for seed in (3, 4):
        move(policy, seed)
        sampler.refresh()
        (answers,) = sampler.sample([[5, 6, 7]], 4, temperature=1.0, max_tokens=12, seeds=[seed])
        told = torch.tensor([lp for a in answers for lp in a.logprobs])
        computed = policy.logprobs(pack([([5, 6, 7], [a.token_ids for a in answers])], CPU), 1.0)[0].detach()
        torch.testing.assert_close(told, computed, atol=5e-5, rtol=0)


def test_nothing_is_dropped_out(tmp_path):
    """trl #3000: a model in train mode has other probabilities each time it is asked."""
    policy = tiny_policy(make_tiny_model(tmp_path, attention_dropout=0.5))
    packed = pack([([5, 6], [[7, 8, 9]])], CPU)
    assert torch.equal(policy.logprobs(packed, 1.0)[0], policy.logprobs(packed, 1.0)[0])
    updated(policy, [answer(0, [9, END], 1.0), answer(0, [8, END], 0.0)])
    assert torch.equal(policy.logprobs(packed, 1.0)[0], policy.logprobs(packed, 1.0)[0])


def test_a_prompt_begins_once(tiny_model):
    """Templates write the token that begins a text; a tokenizer that adds it again makes every prompt unlike training."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.bos_token = "<|system|>"
    tokenizer.add_bos_token = True
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    ids = prompt_tokens(tokenizer, [{"role": "user", "content": "Hi"}], 100)
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
