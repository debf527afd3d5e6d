"""A training step on an accelerator: tokens a second of sampling, model FLOPs utilisation of the update, and TRL beside it.

    python -m tests.gpu.step [--size 1.5b] [--prompts 32] [--prompt-tokens 512] [--samples 8] [--new-tokens 512] [--trl]

The model has random weights, so nothing is downloaded. Needs torch, transformers, peft, pydantic and pandas, and with --trl
also trl and datasets.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from rllm_assets.config import ModelConfig, TrainingConfig
from rllm_assets.models.hardware import default_device
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sampler
from rllm_assets.training.algorithms import algorithm_of
from rllm_assets.training.batches import TrainingSample
from rllm_assets.training.collective import Alone
from rllm_assets.training.update import Optimizers, Updater
from tests.tiny import make_tiny_model

# Qwen2.5's shapes, with a small vocabulary's tokenizer and a large one's head.
SIZES = {
    "tiny": {},
    "0.5b": {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "vocab_size": 151_936, "initializer_range": 0.02,
    },
    "1.5b": {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151_936, "initializer_range": 0.02,
    },
    "7b": {
        "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152_064, "initializer_range": 0.02,
    },
}  # fmt: skip
# Dense bfloat16, from the vendor's data sheets.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


class Endless(Policy):
    """A policy whose answers end at the length limit only."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """No token ends an answer."""
        return frozenset()


def seconds_of(device: torch.device) -> float:
    """The time, when everything that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def flops(policy: Policy, read: int, written: int) -> tuple[float, float]:
    """Operations of sampling and of the update, prompts once a group: two a weight and token forward, two more backward."""
    body = sum(layer.base.weight.numel() for layer in policy.lora_weights())
    head = policy._model.get_output_embeddings().weight.numel()
    forward = 2.0 * (body * (read + written) + head * written)
    return forward, 2 * forward


def ours(model: Path, options: argparse.Namespace) -> None:
    """Take steps and print medians."""
    device = default_device()
    training = TrainingConfig(
        max_steps=1, algorithm="grpo_plus", learning_rate=1e-5, micro_batch_tokens=options.micro_batch_tokens
    )
    policy = Endless(ModelConfig(name=str(model), lora_rank=16), seed=0)
    sampler = Sampler(policy)
    updater = Updater(policy, algorithm_of(training), training, Optimizers.for_policy(policy, training), Alone())
    vocabulary = policy._model.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    prompts = [
        torch.randint(5, vocabulary, (options.prompt_tokens,), generator=generator).tolist()
        for _ in range(options.prompts)
    ]
    phases: list[tuple[float, float, float]] = []
    for step in range(options.steps + 1):
        began = seconds_of(device)
        sampler.refresh()
        refreshed = seconds_of(device)
        drawn = sampler.sample(
            prompts,
            options.samples,
            temperature=1.0,
            max_tokens=options.new_tokens,
            seeds=[step * 1000 + number for number in range(len(prompts))],
        )
        sampled = seconds_of(device)
        batch = [
            TrainingSample(
                number, prompts[number], s.token_ids, torch.tensor(s.logprobs), float(i % 2), True,
                torch.zeros(len(s.token_ids)),
            )
            for number, group in enumerate(drawn)
            for i, s in enumerate(group)
        ]  # fmt: skip
        updater.update(batch, step, options.new_tokens)
        ended = seconds_of(device)
        # The first step warms up.
        if step:
            phases.append((refreshed - began, sampled - refreshed, ended - sampled))
    refresh, sampling, update = (statistics.median(times) for times in zip(*phases, strict=True))
    written = options.prompts * options.samples * options.new_tokens
    _, needed = flops(policy, options.prompts * options.prompt_tokens, written)
    print(f"refresh {refresh:.2f} s; sampling {sampling:.2f} s, {written / sampling:,.0f} tokens a second")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = next((value for card, value in PEAK_FLOPS.items() if card in name), None)
    share = f", {needed / update / peak:.0%} of {name}'s peak" if peak else f" on {name}"
    print(f"update {update:.2f} s, {needed / update / 1e12:.1f} TFLOP/s{share}")
    print(f"step {refresh + sampling + update:.2f} s")
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB")


def trl(model: Path, options: argparse.Namespace) -> None:
    """TRL's step on the same model, with transformers' generation, as its documentation sets it up without vLLM."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.began = seconds_of(default_device())

        def on_step_end(self, *_, **__):
            times.append(seconds_of(default_device()) - self.began)

    cuda = default_device().type == "cuda"
    with tempfile.TemporaryDirectory() as directory:
        trainer = GRPOTrainer(
            model=str(model),
            reward_funcs=lambda prompts, **_: [float(i % 2) for i in range(len(prompts))],
            args=GRPOConfig(
                output_dir=directory, use_cpu=not cuda, bf16=cuda,
                model_init_kwargs={"dtype": "bfloat16" if cuda else "float32"},
                gradient_checkpointing=False, disable_dropout=True, per_device_train_batch_size=options.samples,
                gradient_accumulation_steps=options.prompts, num_generations=options.samples,
                max_completion_length=options.new_tokens, generation_kwargs={"min_new_tokens": options.new_tokens},
                temperature=1.0, top_p=1.0, top_k=0, beta=0.0, loss_type="dapo", learning_rate=1e-5,
                max_grad_norm=1.0, max_steps=options.steps + 1, disable_tqdm=True, logging_strategy="no",
                save_strategy="no", report_to="none",
            ),
            train_dataset=Dataset.from_list(
                [{"prompt": f"{number:0{options.prompt_tokens}d}"} for number in range(options.prompts)]
            ),
            peft_config=LoraConfig(
                r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    print(f"TRL step {statistics.median(times[1:]):.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="1.5b")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=512)
    parser.add_argument("--micro-batch-tokens", type=int, default=32_768)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--trl", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        model = make_tiny_model(Path(directory), **SIZES[options.size])
        ours(model, options)
        if options.trl:
            trl(model, options)


if __name__ == "__main__":
    main()
