"""The supervised start: a few passes over good answers before reinforcement."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from rllm_assets.config import TrainingConfig
from rllm_assets.data.answers import AnswerFormat
from rllm_assets.data.issues import Issue
from rllm_assets.data.trajectories import Attempt, Message
from rllm_assets.models.policy import Policy
from rllm_assets.rollouts import prompt_tokens
from rllm_assets.rollouts.episodes import observation_tokens
from rllm_assets.training.batches import TrainingSample, micro_batches, pack_samples
from rllm_assets.training.collective import Collective
from rllm_assets.training.update import BadLossError

# Of one issue's right answers; more of them would only weigh the easy issues heavier.
ANSWERS_PER_ISSUE = 4


@dataclass(frozen=True)
class Example:
    """A prompt and a good answer to it, with the observations between its turns where it has several."""

    issue: Issue
    response: str
    turns: Sequence[Message] = ()


def own_examples(issues: Sequence[Issue], attempts: Sequence[Attempt], *, allow_in_process: bool) -> list[Example]:
    """Return the base's own answers that resolved an issue, without repetitions (rejection fine-tuning)."""
    by_id = {issue.instance_id: issue for issue in issues}
    chosen: dict[str, list[Example]] = {}
    for attempt in attempts:
        if attempt.kind != "rollout" or not attempt.verdict.resolved or attempt.instance_id not in by_id:
            continue
        if attempt.verdict.in_process and not allow_in_process:
            continue
        answers = chosen.setdefault(attempt.instance_id, [])
        example = Example(by_id[attempt.instance_id], attempt.response, attempt.turns)
        if example not in answers and len(answers) < ANSWERS_PER_ISSUE:
            answers.append(example)
    return [example for i in sorted(chosen) for example in chosen[i]]


def gold_examples(issues: Sequence[Issue], answer_format: AnswerFormat) -> list[Example]:
    """Return the historical fixes, written as answers."""
    return [Example(issue, answer_format.gold(issue)) for issue in issues]


def warm_start(
    policy: Policy,
    examples: Sequence[Example],
    answer_format: AnswerFormat,
    training: TrainingConfig,
    collective: Collective,
    on_step: Callable[[Mapping[str, float]], None] | None = None,
) -> None:
    """Train on the examples by cross-entropy, a mean over the tokens of each step's answers; workers share each step.

    Raises:
        BadLossError: after `stop_after_bad_losses` losses in a row that are no number; the steps of such are skipped.
    """
    samples = [_to_sample(policy, number, example, answer_format) for number, example in enumerate(examples)]
    parameters = policy.policy_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=training.warm_start_learning_rate, weight_decay=0.0, fused=True)
    batches = list(_batches(samples, training))
    bad_in_a_row = 0
    for step, batch in enumerate(batches):
        # A short linear decay to a tenth leaves the optimizer at rest when reinforcement takes over.
        optimizer.param_groups[0]["lr"] = training.warm_start_learning_rate * (1 - 0.9 * step / len(batches))
        tokens = sum(sample.length for sample in batch)
        total = torch.zeros((), device=policy.device)
        for micro_batch in micro_batches(batch[collective.rank :: collective.size], training.micro_batch_tokens):
            logprobs, _ = policy.logprobs(pack_samples(micro_batch, policy.device), temperature=1.0)
            loss = -logprobs.sum() / tokens
            loss.backward()
            total += loss.detach()
        collective.sum([*_gradients(parameters), total])
        norm = nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
        told: dict[str, float] = {"warm_start_step": step + 1, "warm_start_steps": len(batches)}
        if bool(torch.isfinite(total) & torch.isfinite(norm)):
            bad_in_a_row = 0
            optimizer.step()
            told["warm_start_loss"] = total.item()
        else:
            bad_in_a_row += 1
            told["bad_losses"] = 1.0
            if bad_in_a_row >= training.stop_after_bad_losses:
                raise BadLossError(f"warm start, step {step + 1}: the loss was no number {bad_in_a_row} times in a row")
        optimizer.zero_grad(set_to_none=True)
        if on_step is not None:
            on_step(told)


def _gradients(parameters: Sequence[nn.Parameter]) -> list[torch.Tensor]:
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _to_sample(policy: Policy, number: int, example: Example, answer_format: AnswerFormat) -> TrainingSample:
    prompt = prompt_tokens(
        policy.tokenizer, answer_format.prompt(example.issue), policy.prompt_limit, example.issue.instance_id
    )
    assert policy.tokenizer.eos_token_id is not None
    ids: list[int] = []
    given: list[bool] = []
    for turn in example.turns or [{"role": "assistant", "content": example.response}]:
        if turn["role"] == "assistant":
            said = policy.tokenizer(str(turn["content"]).strip(), add_special_tokens=False)["input_ids"]
            added = [*said, policy.tokenizer.eos_token_id]
        else:
            added = observation_tokens(policy.tokenizer, str(turn["content"]), ids[-1])
        ids += added
        given += [turn["role"] != "assistant"] * len(added)
    zeros = torch.zeros(given.count(False))
    return TrainingSample(number, prompt, ids, zeros, 1.0, True, zeros, given=tuple(given) if any(given) else None)


def _batches(samples: list[TrainingSample], training: TrainingConfig) -> Iterator[list[TrainingSample]]:
    order = random.Random(training.seed)
    for _ in range(training.warm_start_epochs):
        shuffled = list(samples)
        order.shuffle(shuffled)
        for start in range(0, len(shuffled), training.warm_start_batch_size):
            yield shuffled[start : start + training.warm_start_batch_size]
