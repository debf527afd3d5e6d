"""On a GPU the same numbers as on the CPU. Needs torch, transformers, peft, pydantic and pandas only."""

from pathlib import Path

import pytest
import torch

from rllm_assets.config import ModelConfig, TrainingConfig
from rllm_assets.models.packing import pack
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sampler
from rllm_assets.training.algorithms import algorithm_of
from rllm_assets.training.batches import TrainingSample
from rllm_assets.training.collective import Alone
from rllm_assets.training.update import Optimizers, Updater

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
ANSWERS = [[[20, 21, 22, 0], [23, 0]], [[30, 0], [31, 32, 0]], [[40, 41, 42], [43, 0]]]


def policy_on(device: torch.device, model: Path, dtype: str = "float32", critic: bool = False) -> Policy:
    policy = Policy(
        ModelConfig.model_validate({"name": str(model), "dtype": dtype, "sampler_dtype": dtype, "lora_rank": 4}),
        critic=critic,
        seed=1,
        device=device,
    )
    generator = torch.Generator().manual_seed(2)
    for parameter in (*policy.policy_parameters(), *policy.critic_parameters()):
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator).to(device)
    return policy


def samples() -> list[TrainingSample]:
    return [
        TrainingSample(group, PROMPTS[group], ids, -torch.ones(len(ids)), float(i), ids[-1] == 0, torch.zeros(len(ids)))
        for group, answers in enumerate(ANSWERS)
        for i, ids in enumerate(answers)
    ]


def test_logprobs_are_those_of_the_cpu(cuda, tiny_model):
    found = []
    for device in (torch.device("cpu"), cuda):
        policy = policy_on(device, tiny_model)
        packed = pack(list(zip(PROMPTS, ANSWERS, strict=True)), device)
        with torch.no_grad():
            found.append(policy.logprobs(packed, 0.8)[0].cpu())
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_the_sampler_says_what_the_trainer_says(cuda, tiny_model, dtype, tolerance):
    policy = policy_on(cuda, tiny_model, dtype)
    sampler = Sampler(policy)
    sampler.refresh()
    drawn = sampler.sample(PROMPTS, 4, temperature=0.8, max_tokens=24, seeds=[1, 2, 3])
    packed = pack([(p, [s.token_ids for s in group]) for p, group in zip(PROMPTS, drawn, strict=True)], cuda)
    with torch.no_grad():
        logprobs = policy.logprobs(packed, 0.8)[0].cpu()
    told = torch.tensor([logprob for group in drawn for sample in group for logprob in sample.logprobs])
    assert (told - logprobs).abs().mean() < tolerance


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_an_update_is_that_of_the_cpu(cuda, tiny_model, algorithm):
    training = TrainingConfig(max_steps=1, algorithm=algorithm, learning_rate=1e-3, importance_cap=1e9)
    moved = []
    for device in (torch.device("cpu"), cuda):
        policy = policy_on(device, tiny_model, critic=algorithm == "ppo")
        updater = Updater(policy, algorithm_of(training), training, Optimizers.for_policy(policy, training), Alone())
        metrics = updater.update(samples(), 0, 16)
        moved.append((metrics.loss, metrics.grad_norms[0]))
    assert moved[1] == pytest.approx(moved[0], rel=1e-3, abs=1e-5)
