"""Seconds of one training step beside TRL's GRPOTrainer: sampling and update, the same work for both, ABBA in one run.

    python -m tests.performance.step_vs_trl [--visits 2] [--steps 4] [--processes 2]
        [--trl-processes 2] [--trl-micro-batch 8] [--trl-fp32] [--trl-static-cache] [--ours-only]

SmolLM2-135M with a LoRA of rank 16 on all linear layers; 8 prompts of about 150 tokens, 8 answers to each of exactly 96 tokens,
every group informative, no KL. The processes of each share the cores and, each step, their gradients. Beside each phase of ours
stands its floor: its arithmetic at the speed that this machine multiplies matrices of these sizes.
"""

import argparse
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rllm_assets.compute.processes import run_processes
from rllm_assets.config import ModelConfig, TrainingConfig
from rllm_assets.data.answers import answer_format
from rllm_assets.data.benchmarks import find_benchmark
from rllm_assets.data.sources import load_issues
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sample, Sampler
from rllm_assets.rollouts import prompt_tokens
from rllm_assets.training.algorithms import algorithm_of
from rllm_assets.training.batches import TrainingSample
from rllm_assets.training.collective import Alone, Collective, ProcessGroup
from rllm_assets.training.update import Optimizers, Updater

PROMPTS, SAMPLES, NEW_TOKENS, RATE = 8, 8, 96, 1e-4
# Steps of a fresh process that are not measured: the first is the slowest, theirs and ours.
WARM_UP = 1
TRAINING = TrainingConfig(max_steps=1, algorithm="grpo", aggregation="token_mean", learning_rate=RATE)


def rewards(count: int) -> list[float]:
    """Rewards of a group: half of the answers are right."""
    return [float(number % 2) for number in range(count)]


def prompt_messages() -> list[Any]:
    """The prompts of `PROMPTS` issues of the bundled benchmark."""
    issues, _ = load_issues(find_benchmark("pocket"))
    return [answer_format("function").prompt(issue) for issue in issues[:: len(issues) // PROMPTS][:PROMPTS]]


class Endless(Policy):
    """A policy whose answers end at the length limit only, so that both do the same work."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """No token ends an answer."""
        return frozenset()


class Ours:
    """Our step, or one worker's share of it."""

    def __init__(self, model: ModelConfig, collective: Collective | None = None) -> None:
        self.policy = Endless(model, seed=0)
        self.sampler = Sampler(self.policy)
        self.collective = collective or Alone()
        optimizers = Optimizers.for_policy(self.policy, TRAINING)
        self.updater = Updater(self.policy, algorithm_of(TRAINING), TRAINING, optimizers, self.collective)
        self.prompts = [prompt_tokens(self.policy.tokenizer, m, 1024) for m in prompt_messages()]
        self.mine = range(self.collective.rank, PROMPTS, self.collective.size)
        self.number = 0

    def step(self) -> dict[str, float]:
        """Take one step; return the seconds of its phases."""
        self.number += 1
        began = time.perf_counter()
        self.sampler.refresh()
        drawn = self.sampler.sample(
            [self.prompts[number] for number in self.mine],
            SAMPLES,
            temperature=1.0,
            max_tokens=NEW_TOKENS,
            seeds=[self.number * 1000 + number for number in self.mine],
        )
        parts = self.collective.gather(dict(zip(self.mine, drawn, strict=True)))
        everybodys = {number: group for part in parts for number, group in part.items()}
        sampled = time.perf_counter()
        updated = self.updater.update(
            self._samples([everybodys[number] for number in range(PROMPTS)]), self.number, NEW_TOKENS
        )
        ended = time.perf_counter()
        assert updated.tokens == PROMPTS * SAMPLES * NEW_TOKENS, "both shall train on the same number of tokens"
        return {"sampling": sampled - began, "update": ended - sampled}

    def _samples(self, drawn: Sequence[Sequence[Sample]]) -> list[TrainingSample]:
        return [
            TrainingSample(
                group=number,
                prompt_ids=self.prompts[number],
                response_ids=sample.token_ids,
                sampler_logprobs=torch.tensor(sample.logprobs),
                reward=reward,
                finished=False,
                advantages=torch.zeros(NEW_TOKENS),
            )
            for number, group in enumerate(drawn)
            for sample, reward in zip(group, rewards(SAMPLES), strict=True)
        ]


@dataclass(frozen=True)
class Worker:
    """One of several processes that take steps together."""

    rank: int
    size: int
    port: int

    @classmethod
    def crew(cls, size: int) -> "list[Worker]":
        """Return the workers of a new group."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return [cls(rank, size, port) for rank in range(size)]

    def join(self) -> None:
        """Tell this process its place, as `torchrun` does."""
        os.environ.update(
            RANK=str(self.rank),
            LOCAL_RANK=str(self.rank),
            WORLD_SIZE=str(self.size),
            LOCAL_WORLD_SIZE=str(self.size),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(self.port),
        )


@dataclass(frozen=True)
class OurShare:
    """What a process of ours does."""

    worker: Worker
    steps: int


def our_steps(share: OurShare, _: Callable[[Any], None]) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Take steps with a fresh policy; return the seconds of their phases after the warm-up, and the floor of each phase."""
    if share.worker.size > 1:
        share.worker.join()
        dist.init_process_group("gloo")
    ours = Ours(ModelConfig(), ProcessGroup() if share.worker.size > 1 else Alone())
    phases = [ours.step() for _ in range(WARM_UP + share.steps)][WARM_UP:]
    if share.worker.size > 1:
        dist.destroy_process_group()
    return phases, floors(ours.policy, [ours.prompts[number] for number in ours.mine])


@dataclass(frozen=True)
class TrlSetting:
    """What of TRL's configuration changes its speed."""

    processes: int
    micro_batch: int
    bf16: bool
    static_cache: bool

    def step(self, directory: str) -> float:
        """Take one step in fresh processes; return its seconds."""
        shares = [TrlShare(self, worker, directory) for worker in Worker.crew(self.processes)]
        return max(run_processes(trl_step, shares))

    def step_of_one(self, directory: str) -> float:
        """Take one process's part in a step; return its seconds, which TRL measures too, without loading and set-up."""
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import TrainerCallback
        from trl import GRPOConfig, GRPOTrainer

        class Clock(TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                self.began = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                self.seconds = time.perf_counter() - self.began

        def reward(prompts: list, completion_ids: list, **_: Any) -> list[float]:
            assert all(len(ids) == NEW_TOKENS for ids in completion_ids), "both shall sample the same number of tokens"
            return rewards(SAMPLES) * (len(prompts) // SAMPLES)

        from rllm_assets.models.found import find_model

        cache = {"cache_implementation": "static"} if self.static_cache else {}
        clock = Clock()
        trainer = GRPOTrainer(
            model=str(find_model(ModelConfig().name).directory),
            reward_funcs=reward,
            args=GRPOConfig(
                output_dir=directory,
                use_cpu=True,
                bf16=self.bf16,
                model_init_kwargs={"dtype": "float32"},
                gradient_checkpointing=False,
                disable_dropout=True,
                per_device_train_batch_size=self.micro_batch,
                gradient_accumulation_steps=PROMPTS * SAMPLES // self.micro_batch // self.processes,
                num_generations=SAMPLES,
                max_completion_length=NEW_TOKENS,
                generation_kwargs={"min_new_tokens": NEW_TOKENS, **cache},
                temperature=1.0,
                top_p=1.0,
                top_k=0,
                beta=0.0,
                loss_type="dapo",
                learning_rate=RATE,
                lr_scheduler_type="constant",
                optim="adamw_torch_fused",
                weight_decay=0.0,
                max_grad_norm=1.0,
                max_steps=WARM_UP + 1,
                shuffle_dataset=False,
                disable_tqdm=True,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
            ),
            train_dataset=Dataset.from_list([{"prompt": messages} for messages in prompt_messages()]),
            peft_config=LoraConfig(
                r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[clock],
        )
        trainer.train()
        return clock.seconds


@dataclass(frozen=True)
class TrlShare:
    """What a process of TRL's does."""

    setting: TrlSetting
    worker: Worker
    directory: str


def trl_step(share: TrlShare, _: Callable[[Any], None]) -> float:
    """Take one process's part in a step; return its seconds."""
    if share.worker.size > 1:
        share.worker.join()
    return share.setting.step_of_one(share.directory)


def floors(policy: Policy, prompts: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return the seconds that the arithmetic of each phase takes at the measured speed of matrix products.

    Two operations a weight and token forward, as many again for the gradient by the activations; the frozen weights need none.
    Prompts are counted once a group; attention, normalisation, softmax and optimizer are not counted.
    """
    body = sum(layer.weight.numel() for layer in policy.lora_weights())
    head = policy._model.get_output_embeddings().weight.numel()
    read, written = sum(map(len, prompts)), len(prompts) * SAMPLES * NEW_TOKENS
    dtype = next(policy._model.parameters()).dtype
    width = policy._model.config.hidden_size
    decoding = 2 * (body * (read + written) + head * written) / speed(len(prompts) * SAMPLES, width, dtype)
    training = 4 * (body * (read + written) + head * written) / speed(2048, width, dtype)
    return {"sampling": decoding, "update": training}


def speed(rows: int, width: int, dtype: torch.dtype) -> float:
    """Return operations a second of products of `rows` tokens with matrices of a layer's size, the best of several tries."""
    x, weights = torch.randn(rows, width).to(dtype), [torch.randn(4 * width, width).to(dtype) for _ in range(24)]
    times = []
    for _ in range(12):
        began = time.perf_counter()
        for weight in weights:
            torch.nn.functional.linear(x, weight)
        times.append(time.perf_counter() - began)
    return 2 * rows * width * 4 * width * len(weights) / min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=2, help="visits of each, in the order ABBA")
    parser.add_argument("--steps", type=int, default=4, help="steps of ours that are measured at a visit; TRL's is one")
    parser.add_argument("--processes", type=int, default=2, help="of ours, that share the cores")
    parser.add_argument("--trl-processes", type=int, default=2)
    parser.add_argument("--trl-micro-batch", type=int, default=8)
    parser.add_argument("--trl-fp32", action="store_true")
    parser.add_argument("--trl-static-cache", action="store_true")
    parser.add_argument("--ours-only", action="store_true")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} cores, load before: {os.getloadavg()[0]:.1f}")
    theirs = TrlSetting(options.trl_processes, options.trl_micro_batch, not options.trl_fp32, options.trl_static_cache)
    phases: list[dict[str, float]] = []
    floor: dict[str, float] = {}
    steps: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        for visit in range(options.visits):
            # ABBA, that a machine that slows down or speeds up favours nobody.
            for who in ("ours", "trl") if visit % 2 == 0 else ("trl", "ours"):
                if who == "ours":
                    shares = [OurShare(worker, options.steps) for worker in Worker.crew(options.processes)]
                    taken = run_processes(our_steps, shares)
                    # A step is as long as that of the slowest.
                    found = [_slowest(workers) for workers in zip(*(own for own, _ in taken), strict=True)]
                    floor = _slowest([least for _, least in taken])
                    phases += found
                    print(f"ours: {' '.join(f'{sum(p.values()):.1f}' for p in found)} s", flush=True)
                elif not options.ours_only:
                    steps.append(theirs.step(str(Path(directory))))
                    print(f"TRL:  {steps[-1]:.1f} s", flush=True)
    total = statistics.median(sum(phase.values()) for phase in phases)
    for name, least in floor.items():
        seconds = statistics.median(phase[name] for phase in phases)
        print(f"{name:9s} {seconds:6.1f} s, floor {least:5.1f} s, {least / seconds:4.0%} of the time is arithmetic")
    print(f"ours      {total:6.1f} s a step, {total / sum(floor.values()):.1f} times the floor")
    if steps:
        trl = statistics.median(steps)
        print(f"TRL 1.16  {trl:6.1f} s a step with {theirs}; ratio {trl / total:.1f}")


def _slowest(workers: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: max(worker[name] for worker in workers) for name in workers[0]}


if __name__ == "__main__":
    main()
