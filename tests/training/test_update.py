"""The update: the same gradient however a batch is cut, and the gradient of the formula."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from rllm_assets.config import ModelConfig, TrainingConfig
from rllm_assets.data.verdicts import Verdict
from rllm_assets.models.packing import pack
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sample
from rllm_assets.training.algorithms import algorithm_of
from rllm_assets.training.batches import TrainingSample, micro_batches, to_samples
from rllm_assets.training.collective import Alone
from rllm_assets.training.update import BadLossError, Optimizers, Updater

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
RESPONSES = [
    [[20, 21, 22, 0], [23, 0], [24, 25, 26, 27, 28, 0]],
    [[30, 0], [31, 32, 0]],
    [[40, 41, 42], [43, 0], [44, 0]],
]
REWARDS = [[1.0, 0.0, 0.0], [1.0, 1.0], [0.0, 0.5, 1.0]]


class Recorded(torch.optim.SGD):
    """Keeps the gradient of the last step instead of moving."""

    gradient: torch.Tensor

    def step(self, closure=None):
        self.gradient = torch.cat([p.grad.flatten().clone() for g in self.param_groups for p in g["params"]])


def make_policy(tiny_model, critic=False):
    policy = Policy(ModelConfig(name=str(tiny_model), dtype="float32", lora_rank=4), critic=critic, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in (*policy.policy_parameters(), *policy.critic_parameters()):
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


def make_samples(finished=True):
    generator = torch.Generator().manual_seed(3)
    return [
        TrainingSample(
            group=g,
            prompt_ids=PROMPTS[g],
            response_ids=response,
            sampler_logprobs=-torch.rand(len(response), generator=generator),
            reward=REWARDS[g][i],
            finished=finished,
            advantages=torch.zeros(len(response)),
        )
        for g, group in enumerate(RESPONSES)
        for i, response in enumerate(group)
    ]


def gradient(policy, samples, training, critic=False):
    algorithm = algorithm_of(training)
    optimizers = Optimizers(
        Recorded(policy.policy_parameters(), lr=1.0),
        Recorded(policy.critic_parameters(), lr=1.0) if policy.critic_parameters() else None,
    )
    updater = Updater(policy, algorithm, training, optimizers, Alone())
    metrics = updater.update(samples, seed=0, max_response_tokens=16)
    return (optimizers.critic if critic else optimizers.policy).gradient, metrics


def settings(**changes):
    return TrainingConfig(
        **({"max_steps": 1, "temperature": 0.8, "max_grad_norm": 1e9, "importance_cap": 1e9} | changes)
    )


@pytest.mark.parametrize("algorithm", ["grpo", "grpo_positive", "grpo_plus", "dr_grpo", "rloo", "reinforce_pp", "ppo"])
def test_micro_batching_changes_no_gradient(tiny_model, algorithm):
    policy = make_policy(tiny_model, critic=algorithm == "ppo")
    gradients = [
        gradient(policy, make_samples(), settings(algorithm=algorithm, micro_batch_tokens=tokens))[0]
        for tokens in (10_000, 20, 8, 1)
    ]
    assert gradients[0].abs().max() > 1e-4
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], atol=1e-6, rtol=1e-4)


def reference_gradient(policy, tiny_model, tmp_path, advantages, weights, temperature=0.8):
    """The same loss from PEFT and plain sequences: Σ w · (-A) · exp(lp - lp.detach()) · exp(lp.detach() - μ)."""
    policy.save_adapter(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    reference = PeftModel.from_pretrained(base, tmp_path, is_trainable=True)
    total = torch.zeros(())
    for sample, advantage, weight in zip(make_samples(), advantages, weights, strict=True):
        ids = torch.tensor([[*sample.prompt_ids, *sample.response_ids]])
        logits = reference(ids).logits[0, len(sample.prompt_ids) - 1 : -1].float() / temperature
        logprobs = logits.log_softmax(-1).gather(1, torch.tensor(sample.response_ids)[:, None])[:, 0]
        importance = (logprobs.detach() - sample.sampler_logprobs).exp()
        total = total - (weight * advantage * importance * (logprobs - logprobs.detach()).exp()).sum()
    total.backward()
    by_name = {n.removeprefix("base_model.model."): p.grad for n, p in reference.named_parameters() if p.requires_grad}
    flat = [by_name[f"{w.name}.lora_{m}.default.weight"].flatten() for w in policy.lora_weights() for m in "AB"]
    return torch.cat(flat), total.item()


def group_advantages(kind):
    result = []
    for rewards in REWARDS:
        values = torch.tensor(rewards)
        centred = values - values.mean()
        scaled = {
            "group": centred / (values.std() + 1e-4),
            "group_positive": (centred / (values.std() + 1e-4)).clamp(min=0),
            "group_mean": centred,
            "rloo": torch.tensor([r - (sum(rewards) - r) / (len(rewards) - 1) for r in rewards]),
        }[kind]
        result += scaled.tolist() if values.max() > values.min() else [0.0] * len(rewards)
    return result


LENGTHS = [len(r) for group in RESPONSES for r in group]


@pytest.mark.parametrize(
    ("algorithm", "advantages", "weights"),
    [
        ("grpo", "group", [1 / (8 * n) for n in LENGTHS]),
        ("grpo_plus", "group", [1 / sum(LENGTHS)] * 8),
        ("grpo_positive", "group_positive", [1 / sum(LENGTHS)] * 8),
        ("dr_grpo", "group_mean", [1 / (8 * 16)] * 8),
        ("rloo", "rloo", [1 / sum(LENGTHS)] * 8),
    ],
)
def test_gradient_is_that_of_the_formula(tiny_model, tmp_path, algorithm, advantages, weights):
    policy = make_policy(tiny_model)
    found, metrics = gradient(policy, make_samples(), settings(algorithm=algorithm))
    expected, loss = reference_gradient(policy, tiny_model, tmp_path, group_advantages(advantages), weights)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert metrics.loss == pytest.approx(loss, abs=1e-5)


def test_reinforce_pp_whitens_over_the_tokens_of_the_batch(tiny_model, tmp_path):
    policy = make_policy(tiny_model)
    found, _ = gradient(policy, make_samples(), settings(algorithm="reinforce_pp"))
    flat = [reward for rewards in REWARDS for reward in rewards]
    tokens = torch.tensor(flat).repeat_interleave(torch.tensor(LENGTHS))
    advantages = ((torch.tensor(flat) - tokens.mean()) / (tokens.std() + 1e-8)).tolist()
    expected, _ = reference_gradient(policy, tiny_model, tmp_path, advantages, [1 / sum(LENGTHS)] * 8)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_ppo_is_the_papers(tiny_model, tmp_path):
    """Written out on plain sequences: GAE as a sum of errors (arXiv 1506.02438, eq. 16), half the squared error of values."""
    policy = make_policy(tiny_model, critic=True)
    training = settings(algorithm="ppo", discount=0.9, gae_lambda=0.8)
    found_policy, metrics = gradient(policy, make_samples(), training)
    found_critic, _ = gradient(policy, make_samples(), training, critic=True)

    critic, head = plain_critic(policy, tiny_model, tmp_path)
    advantages, loss = [], torch.zeros(())
    for sample in make_samples():
        ids = torch.tensor([[*sample.prompt_ids, *sample.response_ids]])
        hidden = critic.base_model.model.model(ids).last_hidden_state[0, len(sample.prompt_ids) - 1 : -1]
        values = (hidden @ head[0].T)[:, 0] + head[1]
        known = [*values.tolist(), 0.0]
        rewards = [0.0] * (sample.length - 1) + [sample.reward]
        errors = [rewards[t] + 0.9 * known[t + 1] - known[t] for t in range(sample.length)]
        sums = torch.tensor(
            [sum((0.9 * 0.8) ** k * error for k, error in enumerate(errors[t:])) for t in range(sample.length)]
        )
        advantages.append(sums)
        loss = loss + 0.5 * (values - (sums + values.detach())).square().sum() / sum(LENGTHS)
    loss.backward()
    flat = torch.cat(advantages)
    whitened = [(part - flat.mean()) / (flat.std() + 1e-8) for part in advantages]
    expected, _ = reference_gradient(policy, tiny_model, tmp_path / "policy", whitened, [1 / sum(LENGTHS)] * 8)
    torch.testing.assert_close(found_policy, expected, atol=1e-5, rtol=1e-4)

    by_name = {n.removeprefix("base_model.model."): p.grad for n, p in critic.named_parameters() if p.requires_grad}
    of_layers = [by_name[f"{w.name}.lora_{m}.default.weight"].flatten() for w in policy.lora_weights() for m in "AB"]
    torch.testing.assert_close(
        found_critic, torch.cat([*of_layers, *(p.grad.flatten() for p in head)]), atol=1e-5, rtol=1e-4
    )
    assert metrics.value_loss == pytest.approx(loss.item(), abs=1e-5)


def plain_critic(policy, tiny_model, tmp_path):
    """PEFT's own model with the critic's adapter, and the head's weight and bias."""
    policy.save_adapter(tmp_path)
    policy.save_critic(tmp_path / "critic.safetensors")
    state = load_file(tmp_path / "critic.safetensors")
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    critic = PeftModel.from_pretrained(base, tmp_path, is_trainable=True)
    set_peft_model_state_dict(critic, {k: v for k, v in state.items() if not k.startswith("critic_head.")})
    head = [state["critic_head.weight"].requires_grad_(), state["critic_head.bias"].requires_grad_()]
    return critic, head


def test_masked_answers_leave_the_loss_and_its_normalizer_but_not_their_group(tiny_model, tmp_path):
    policy = make_policy(tiny_model)
    samples = [replace(sample, masked=index in (0, 6)) for index, sample in enumerate(make_samples())]
    found, _ = gradient(policy, samples, settings(algorithm="grpo_plus"))
    kept = [0.0 if index in (0, 6) else 1 / (sum(LENGTHS) - LENGTHS[0] - LENGTHS[6]) for index in range(8)]
    expected, _ = reference_gradient(policy, tiny_model, tmp_path, group_advantages("group"), kept)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["grpo", "grpo_plus"])
def test_observations_are_read_and_leave_the_loss_and_its_normalizer(tiny_model, tmp_path, algorithm):
    """The weights of a reference that knows nothing of observations: 0 where a token was one."""
    policy = make_policy(tiny_model)
    # The second token of each answer that has three or more was given to it.
    masks = [tuple(i == 1 for i in range(n)) if n > 2 else None for n in LENGTHS]
    samples = [
        replace(
            sample,
            given=mask,
            sampler_logprobs=sample.sampler_logprobs[
                [i for i in range(len(sample.response_ids)) if not (mask and mask[i])]
            ],
            advantages=torch.zeros(len(sample.response_ids) - sum(mask or ())),
        )
        for sample, mask in zip(make_samples(), masks, strict=True)
    ]
    counts = [sample.length for sample in samples]
    assert counts == [n - (n > 2) for n in LENGTHS]
    found, metrics = gradient(policy, samples, settings(algorithm=algorithm))
    share = [1 / (8 * n) if algorithm == "grpo" else 1 / sum(counts) for n in counts]
    weights = [
        torch.tensor([0.0 if mask and mask[i] else weight for i in range(n)])
        for n, mask, weight in zip(LENGTHS, masks, share, strict=True)
    ]
    expected, loss = reference_gradient(policy, tiny_model, tmp_path, group_advantages("group"), weights)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert metrics.loss == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    ("compact_filtering", "masked"),
    [((), [False] * 3), (("truncated",), [True, False, True]), (("timeout",), [False, False, True])],
)
def test_compact_filtering_goes_by_how_an_answer_ended(compact_filtering, masked):
    endings = [("failed", False), ("failed", True), ("timeout", False)]
    rollouts = [
        SimpleNamespace(
            prompt_ids=[1],
            sample=Sample([2, 3], [-1.0, -1.0], "", finished),
            verdict=Verdict(status=status),
            reward=0.0,
        )
        for status, finished in endings
    ]
    assert [sample.masked for sample in to_samples([rollouts], compact_filtering)] == masked


def test_answers_without_advantage_stay_in_the_normalizer(tiny_model):
    """The second group's rewards are equal: its tokens add nothing, but token_mean still counts them."""
    policy = make_policy(tiny_model)
    _, metrics = gradient(policy, make_samples(), settings(algorithm="grpo_plus"))
    # Five tokens of the second group, and two of the answer in the middle of the third, whose advantage is zero too.
    assert metrics.tokens == sum(LENGTHS) - 5 - 2
    uneven = [s for s in make_samples() if s.group != 1]
    alone, _ = gradient(policy, uneven, settings(algorithm="grpo_plus"))
    together, _ = gradient(policy, make_samples(), settings(algorithm="grpo_plus"))
    torch.testing.assert_close(together * sum(LENGTHS), alone * (sum(LENGTHS) - 5), atol=1e-4, rtol=1e-3)


def test_overlong_filtering_is_deepcoders(tiny_model):
    """Unfinished answers without reward get advantage 0; the statistics of their group stay as they were."""
    from rllm_assets.training.batches import with_group_advantages

    raw = make_samples(finished=False)
    nothing = [torch.zeros(sample.length) for sample in raw]
    samples = with_group_advantages(raw, algorithm_of(settings(algorithm="grpo_plus")), nothing)
    plain = with_group_advantages(raw, algorithm_of(settings(algorithm="grpo")), nothing)
    for filtered, kept in zip(samples, plain, strict=True):
        expected = 0.0 if filtered.reward == 0 else float(kept.advantages[0])
        assert filtered.advantages.tolist() == [expected] * filtered.length


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_to_the_reference_is_added_to_the_loss(tiny_model, estimator):
    policy = make_policy(tiny_model)
    without, _ = gradient(policy, make_samples(), settings(algorithm="grpo_plus"))
    training = settings(algorithm="grpo_plus", kl_coefficient=0.5, kl_estimator=estimator)
    with_kl, metrics = gradient(policy, make_samples(), training)
    # Every answer counts now, also those whose advantage is zero.
    assert metrics.tokens == sum(LENGTHS)

    packed = pack(list(zip(PROMPTS, RESPONSES, strict=True)), policy.device)
    with policy.reference(), torch.no_grad():
        reference = policy.logprobs(packed, 0.8)[0]
    d = policy.logprobs(packed, 0.8)[0] - reference
    divergence = (d * d / 2 if estimator == "k2" else (-d).exp() + d - 1).mean()
    expected = torch.autograd.grad(0.5 * divergence, policy.policy_parameters())
    torch.testing.assert_close(
        with_kl - without, torch.cat([part.flatten() for part in expected]), atol=1e-5, rtol=1e-4
    )


def test_several_updates_a_batch_clip_the_ratio(tiny_model):
    policy = make_policy(tiny_model)
    training = settings(epochs_per_batch=4, learning_rate=0.05, max_grad_norm=1.0)
    updater = Updater(policy, algorithm_of(training), training, Optimizers.for_policy(policy, training), Alone())
    metrics = updater.update(make_samples(), seed=0, max_response_tokens=16)
    assert len(metrics.grad_norms) == 4
    assert 0 < metrics.means()["clip_fraction"] < 1


def test_the_critic_learns_the_return_and_leaves_the_policy_alone(tiny_model):
    policy = Policy(ModelConfig(name=str(tiny_model), dtype="float32", lora_rank=4), critic=True)
    training = settings(algorithm="ppo", critic_learning_rate=0.02, critic_warmup_steps=1, value_clip=10.0)
    updater = Updater(policy, algorithm_of(training), training, Optimizers.for_policy(policy, training), Alone())
    before = [p.detach().clone() for p in policy.policy_parameters()]
    losses = [
        updater.update(make_samples(), seed=0, max_response_tokens=16, critic_only=True).value_loss for _ in range(30)
    ]
    assert losses[-1] < 0.2 * losses[0]
    for parameter, old in zip(policy.policy_parameters(), before, strict=True):
        torch.testing.assert_close(parameter, old, atol=0, rtol=0)


def test_a_loss_that_is_no_number_is_skipped_and_the_third_stops_the_run(tiny_model):
    policy = make_policy(tiny_model)
    training = settings(stop_after_bad_losses=3)
    updater = Updater(policy, algorithm_of(training), training, Optimizers.for_policy(policy, training), Alone())
    broken = [
        TrainingSample(
            s.group, s.prompt_ids, s.response_ids, s.sampler_logprobs * float("nan"), s.reward, True, s.advantages
        )
        for s in make_samples()
    ]
    before = [p.detach().clone() for p in policy.policy_parameters()]
    assert updater.update(broken, seed=0, max_response_tokens=16).bad_losses == 1
    assert updater.update(make_samples(), seed=0, max_response_tokens=16).bad_losses == 0
    assert updater.update(broken, seed=0, max_response_tokens=16).bad_losses == 1
    assert updater.update(broken, seed=0, max_response_tokens=16).bad_losses == 1
    with pytest.raises(BadLossError, match="3 times in a row"):
        updater.update(broken, seed=0, max_response_tokens=16)
    assert all(torch.isfinite(p).all() for p in policy.policy_parameters())
    assert any(not torch.equal(p, old) for p, old in zip(policy.policy_parameters(), before, strict=True))


@pytest.mark.parametrize("limit", [1, 8, 12, 20, 1000])
def test_micro_batches_hold_every_answer_once_within_the_limit(limit):
    batches = list(micro_batches(make_samples(), limit))
    flat = [sample.response_ids for batch in batches for part in batch for sample in part]
    assert sorted(flat) == sorted(r for group in RESPONSES for r in group)
    for batch in batches:
        tokens = sum(len(part[0].prompt_ids) + sum(s.length for s in part) for part in batch)
        assert tokens <= limit or (len(batch) == 1 and len(batch[0]) == 1)
