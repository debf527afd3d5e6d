"""The trajectories that training starts from: historical fixes as answers, and rollouts of the untouched base."""

from collections.abc import Callable, Sequence

from rllm_assets.config import RLLMConfig
from rllm_assets.data.answers import AnswerFormat, answer_format
from rllm_assets.data.issues import FunctionTask, Issue
from rllm_assets.data.trajectories import Attempt
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sampler
from rllm_assets.rewards import Scorer
from rllm_assets.rollouts.collect import Judge, PromptTooLongError, Verifier, collect, prompt_tokens, to_attempt

# Issues at a time: enough to fill the sampler's batch, few enough to show progress.
CHUNK = 64


def sample_base(
    config: RLLMConfig,
    issues: Sequence[Issue],
    format_name: str,
    verifier: Verifier,
    progress: Callable[[int, int], None],
) -> tuple[list[Attempt], str]:
    """Return the attempts at each issue, the gold one first, and the base model's hash.

    An issue whose prompt is too long for the configured model has its gold attempt alone.
    """
    asked = answer_format(format_name)
    policy = Policy(config.model)
    judge = Judge(asked, verifier, Scorer(config.rewards, for_training=False))
    gold = [
        attempt.model_copy(
            update={"response_tokens": len(policy.tokenizer.encode(attempt.response, add_special_tokens=False))}
        )
        for attempt in gold_attempts(issues, format_name, verifier)
    ]
    fitting = [issue for issue in issues if _fits(policy, asked, issue, config.model.max_prompt_tokens)]
    samples = config.trajectories.rollouts_per_issue
    rollouts: dict[str, list[Attempt]] = {}
    sampler = Sampler(policy) if samples and fitting else None
    for start in range(0, len(fitting) if sampler else 0, CHUNK):
        assert sampler is not None
        chunk = fitting[start : start + CHUNK]
        groups = collect(
            sampler,
            policy.tokenizer,
            judge,
            chunk,
            samples=samples,
            temperature=config.trajectories.temperature,
            max_prompt_tokens=config.model.max_prompt_tokens,
            max_response_tokens=config.model.max_response_tokens,
            seeds=[int(issue.content_hash[:12], 16) + config.training.seed for issue in chunk],
        )
        for issue, group in zip(chunk, groups, strict=True):
            rollouts[issue.instance_id] = [
                to_attempt(rollout, asked, number, policy.base.content_hash) for number, rollout in enumerate(group)
            ]
        progress((start + len(chunk)) * samples, len(fitting) * samples)
    attempts = [a for issue, g in zip(issues, gold, strict=True) for a in (g, *rollouts.get(issue.instance_id, ()))]
    return attempts, policy.base.content_hash


def _fits(policy: Policy, asked: AnswerFormat, issue: Issue, limit: int) -> bool:
    try:
        prompt_tokens(policy.tokenizer, asked.prompt(issue), limit, issue.instance_id)
    except PromptTooLongError:
        return False
    return True


def gold_attempts(issues: Sequence[Issue], format_name: str, verifier: Verifier) -> list[Attempt]:
    """Return the historical fix of each issue, written as an answer and verified; its length in tokens is not known yet."""
    asked = answer_format(format_name)
    answers = [asked.gold(issue) for issue in issues]
    jobs: list[tuple[FunctionTask, str | None]] = []
    for issue, answer in zip(issues, answers, strict=True):
        assert isinstance(issue.task, FunctionTask)
        jobs.append((issue.task, asked.extract(answer)))
    return [
        Attempt(
            instance_id=issue.instance_id,
            group=issue.group,
            kind="gold",
            attempt=0,
            prompt=asked.prompt(issue),
            response=answer,
            response_tokens=0,
            finished=True,
            verdict=verdict,
            reward=float(verdict.resolved) if verdict.counts else None,
        )
        for issue, answer, verdict in zip(issues, answers, verifier.verify_many(jobs), strict=True)
    ]
