"""On the same answers with the same rewards, the update is TRL's.

TRL runs whole, from rewards to optimizer steps, through its public interface; only sampling is replaced by given answers.
"""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from rllm_assets.config import ModelConfig, TrainingConfig
from rllm_assets.models.packing import pack
from rllm_assets.models.policy import Policy
from rllm_assets.training.algorithms import algorithm_of
from rllm_assets.training.batches import TrainingSample
from rllm_assets.training.collective import Alone
from rllm_assets.training.update import Optimizers, UpdateMetrics, Updater

TEMPERATURE, LONGEST, RATE = 0.7, 9, 0.02
# Three prompts of different lengths with four ragged answers each; the last group's rewards are all the same.
PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
ANSWERS = [
    [[20, 21, 22, 2], [23, 2], [24, 25, 26, 27, 28, 2], [29, 30, 31, 32, 33, 34, 35, 36, 37]],
    [[30, 2], [31, 32, 2], [33, 34, 35, 2], [36, 2]],
    [[40, 41, 42, 2], [43, 2], [44, 2], [45, 46, 2]],
]
REWARDS = [[1.0, 0.0, 0.0, 0.25], [1.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]]
REWARD_OF = {
    tuple(ids): reward
    for answers, rewards in zip(ANSWERS, REWARDS, strict=True)
    for ids, reward in zip(answers, rewards, strict=True)
}


class Recorded(torch.optim.SGD):
    """Steps, and keeps every gradient that it stepped by."""

    def __init__(self, parameters: list) -> None:
        super().__init__(parameters, lr=RATE)
        self.gradients: list[torch.Tensor] = []

    def step(self, closure=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        self.gradients.append(torch.cat([p.grad.flatten() for g in self.param_groups for p in g["params"]]).clone())
        return super().step(closure)


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    policy = Policy(ModelConfig(name=str(tiny_model), dtype="float32", lora_rank=4), seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in policy.policy_parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


def of_trl(policy: Policy, model: Path, directory: Path, accumulate: int, **settings: object) -> tuple[list, list]:
    """Return the gradients of TRL's optimizer steps, and the losses that it tells."""
    policy.save_adapter(directory / "adapter")
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    trained = PeftModel.from_pretrained(base, directory / "adapter", is_trainable=True)
    by_name = {n.removeprefix("base_model.model."): p for n, p in trained.named_parameters()}
    names = [f"{w.name}.lora_{m}.default.weight" for w in policy.lora_weights() for m in "AB"]
    optimizer = Recorded([by_name[name] for name in names])

    def answer(prompts: list, _trainer: object) -> dict[str, list]:
        asked = [int(prompt) for prompt in prompts]
        given = [ANSWERS[number][asked[:place].count(number)] for place, number in enumerate(asked)]
        return {
            "prompt_ids": [PROMPTS[number] for number in asked],
            "completion_ids": given,
            "logprobs": [[0.0] * len(ids) for ids in given],
        }

    def reward(completion_ids: list, **_: object) -> list[float]:
        return [REWARD_OF[tuple(ids)] for ids in completion_ids]

    config = GRPOConfig(
        output_dir=str(directory),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=12 // accumulate,
        gradient_accumulation_steps=accumulate,
        num_generations=4,
        max_completion_length=LONGEST,
        temperature=TEMPERATURE,
        lr_scheduler_type="constant",
        max_grad_norm=1e9,
        shuffle_dataset=False,
        disable_dropout=True,
        use_bias_correction_kl=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        **{"beta": 0.0, "max_steps": 1, **settings},
    )
    trainer = GRPOTrainer(
        model=trained,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": str(number)} for number in range(3)]),
        processing_class=AutoTokenizer.from_pretrained(model),
        optimizers=(optimizer, None),
        rollout_func=answer,
    )
    for name, parameter in trained.named_parameters():
        # TRL's reference is the adapter as it came; ours is the base, which is an adapter of zeros.
        if ".ref." in name:
            parameter.data.zero_()
    trainer.train()
    return optimizer.gradients, [row["loss"] for row in trainer.state.log_history if "loss" in row]


def of_ours(policy: Policy, **settings: object) -> tuple[list, UpdateMetrics]:
    """Return the gradients of our optimizer steps, and what the step tells."""
    training = TrainingConfig.model_validate(
        {"max_steps": 1, "temperature": TEMPERATURE, "max_grad_norm": 1e9, **settings}
    )
    packed = pack(list(zip(PROMPTS, ANSWERS, strict=True)), policy.device)
    with torch.no_grad():
        # The sampler's numbers are the trainer's here: TRL corrects for a difference only with vLLM.
        sampled = packed.split(policy.logprobs(packed, TEMPERATURE)[0])
    samples = [
        TrainingSample(
            number, PROMPTS[number], ids, logprobs, REWARD_OF[tuple(ids)], ids[-1] == 2, torch.zeros(len(ids))
        )
        for (number, ids), logprobs in zip(
            ((number, ids) for number, group in enumerate(ANSWERS) for ids in group), sampled, strict=True
        )
    ]
    optimizer = Recorded(policy.policy_parameters())
    updater = Updater(policy, algorithm_of(training), training, Optimizers(optimizer, None), Alone())
    return optimizer.gradients, updater.update(samples, 0, LONGEST)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"loss_type": "grpo"}, {"algorithm": "grpo"}),
        ({"loss_type": "dapo"}, {"algorithm": "grpo", "aggregation": "token_mean"}),
        ({"loss_type": "dr_grpo", "scale_rewards": "none"}, {"algorithm": "dr_grpo"}),
        ({"loss_type": "grpo", "beta": 0.3}, {"algorithm": "grpo", "kl_coefficient": 0.3, "kl_estimator": "k3"}),
    ],
    ids=["grpo", "token_mean", "dr_grpo", "kl"],
)
def test_loss_and_gradient(policy, tiny_model, tmp_path, theirs, ours, accumulate):
    expected, losses = of_trl(policy, tiny_model, tmp_path, accumulate, **theirs)
    found, metrics = of_ours(policy, **ours)
    assert len(found) == len(expected) == 1
    assert expected[0].abs().max() > 1e-3
    # k3 grows like the ratio of probabilities: of a gradient of tens, 1e-5 is less than one place of float32.
    scale = max(1.0, float(expected[0].abs().max()))
    torch.testing.assert_close(found[0] / scale, expected[0] / scale, atol=1e-5, rtol=1e-5)
    assert metrics.loss == pytest.approx(losses[0], abs=1e-5)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        ({"epsilon_high": 0.28}, {"clip_high": 0.28}),
        ({"delta": 1.5}, {"dual_clip": 1.5}),
    ],
    ids=["clip", "clip_higher", "dual_clip"],
)
def test_several_updates_on_one_batch(policy, tiny_model, tmp_path, theirs, ours):
    """The second and third update leave the policy that sampled, and clip."""
    expected, _ = of_trl(policy, tiny_model, tmp_path, 1, loss_type="dapo", num_iterations=3, max_steps=3, **theirs)
    found, metrics = of_ours(policy, algorithm="grpo", aggregation="token_mean", epochs_per_batch=3, **ours)
    assert len(found) == len(expected) == 3
    assert metrics.clipped > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
