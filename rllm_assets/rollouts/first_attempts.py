"""The trajectories that training starts from: historical fixes as answers, and rollouts of the base or of an endpoint."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from rllm_assets.compute import run_shares, sandboxes
from rllm_assets.config import RLLMConfig
from rllm_assets.data.answers import NoCandidateError, answer_format
from rllm_assets.data.issues import Issue
from rllm_assets.data.trajectories import Attempt
from rllm_assets.models.found import BaseModel, find_model
from rllm_assets.models.loading import load_tokenizer, prompt_limit
from rllm_assets.models.policy import Policy
from rllm_assets.models.samplers import open_sampler
from rllm_assets.rewards import Scorer
from rllm_assets.rollouts.asking import AnySampler
from rllm_assets.rollouts.collect import Candidate, Judge, candidate_of, collect, fitting, to_attempt, verified
from rllm_assets.rollouts.collect import Verifier as Judging
from rllm_assets.rollouts.endpoint import open_endpoint
from rllm_assets.verification import Verifier

# Issues at a time: enough to fill the sampler's batch, few enough to show progress.
CHUNK = 96


def sample_base(
    config: RLLMConfig,
    issues: Sequence[Issue],
    format_name: str,
    progress: Callable[[int, int], None] | None = None,
    *,
    gold_only: Collection[str] = (),
    allow_unsandboxed: bool = False,
) -> tuple[list[Attempt], str]:
    """Return the attempts at each issue, the gold one first, and the base model's hash.

    The base answers, or what `trajectories.endpoint` serves. Shares of the issues are sampled and judged side by side where
    `distributed` says. The issues whose ids are in `gold_only`, and those whose prompts are too long for the configured model,
    have their gold attempt alone.

    Raises:
        SandboxUnavailableError: where a machine offers no strong sandbox and `allow_unsandboxed` is not set.
        ModelError: where the model does not load.
        EndpointError: where the endpoint does not answer, or not as `trajectories.endpoint_api` has it.
        ComputeError: where there is no cluster, or it is too small.
    """
    total, done = len(issues), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    size = max(1, min(config.distributed.num_workers, len(issues)))
    each = sandboxes(config.distributed, size)
    not_sampled = frozenset(gold_only)
    shares = [
        _Share(config, issues[rank::size], not_sampled, format_name, allow_unsandboxed, each) for rank in range(size)
    ]
    parts = run_shares(config.distributed, _sample_share, shares, advance)
    by_issue = {attempts[0].instance_id: attempts for part, _ in parts for attempts in part}
    return [attempt for issue in issues for attempt in by_issue[issue.instance_id]], parts[0][1]


@dataclass(frozen=True)
class _Share:
    config: RLLMConfig
    issues: Sequence[Issue]
    gold_only: frozenset[str]
    format_name: str
    allow_unsandboxed: bool
    sandboxes: int | None


def _sample_share(share: _Share, send: Callable[[int], None]) -> tuple[list[list[Attempt]], str]:
    config, asked = share.config, answer_format(share.format_name)
    attempts: list[list[Attempt]] = []
    with (
        _answering(config) as answering,
        Verifier(workers=share.sandboxes, allow_unsandboxed=share.allow_unsandboxed) as verifier,
    ):
        judge = Judge(asked, verifier, Scorer(config.rewards, for_training=False), config.agent)
        for start in range(0, len(share.issues), CHUNK):
            chunk = share.issues[start : start + CHUNK]
            sampled = [issue for issue in chunk if issue.instance_id not in share.gold_only]
            rollouts = _rollouts(config, answering, judge, sampled)
            for gold in gold_attempts(chunk, share.format_name, verifier):
                tokens = len(answering.tokenizer.encode(gold.response, add_special_tokens=False))
                known = gold.model_copy(update={"response_tokens": tokens})
                attempts.append([known, *rollouts.get(gold.instance_id, ())])
            send(len(chunk))
    return attempts, answering.base.content_hash


@dataclass(frozen=True)
class _Answering:
    """What answers: nothing where no rollouts are asked for."""

    base: BaseModel
    tokenizer: PreTrainedTokenizerBase
    sampler: AnySampler | None
    policy: str


@contextlib.contextmanager
def _answering(config: RLLMConfig) -> Iterator[_Answering]:
    wanted = config.trajectories
    if wanted.rollouts_per_issue and wanted.endpoint is None:
        policy = Policy(config.model)
        yield _Answering(policy.base, policy.tokenizer, open_sampler(policy), policy.base.content_hash)
        return
    base = find_model(config.model.name)
    tokenizer = load_tokenizer(base)
    if not wanted.rollouts_per_issue:
        yield _Answering(base, tokenizer, None, "")
        return
    with open_endpoint(wanted, config.model.name, tokenizer) as endpoint:
        yield _Answering(base, tokenizer, endpoint, endpoint.policy)


def _rollouts(
    config: RLLMConfig, answering: _Answering, judge: Judge, issues: Sequence[Issue]
) -> dict[str, list[Attempt]]:
    asked, tokenizer = judge.answer_format, answering.tokenizer
    most = prompt_limit(answering.base, config.model)
    askable, _ = fitting(issues, tokenizer, asked, most)
    if answering.sampler is None or not askable:
        return {}
    groups = collect(
        answering.sampler,
        tokenizer,
        judge,
        askable,
        samples=config.trajectories.rollouts_per_issue,
        temperature=config.trajectories.temperature,
        max_prompt_tokens=most,
        max_response_tokens=config.model.max_response_tokens,
        seeds=[int(issue.content_hash[:12], 16) + config.training.seed for issue in askable],
    )
    return {
        issue.instance_id: [to_attempt(r, asked, number, answering.policy) for number, r in enumerate(group)]
        for issue, group in zip(askable, groups, strict=True)
    }


def gold_attempts(issues: Sequence[Issue], format_name: str, verifier: Judging) -> list[Attempt]:
    """Return the historical fix of each issue, written as an answer and verified; its length in tokens is not known yet."""
    asked = answer_format(format_name)
    answers: list[str] = []
    candidates: list[Candidate] = []
    for issue in issues:
        try:
            answers.append(asked.gold(issue))
            candidates.append(candidate_of(asked, issue, answers[-1]))
        except NoCandidateError as error:
            answers.append("")
            candidates.append(Candidate(None, str(error)))
    verdicts = verified(verifier, issues, candidates)
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
        for issue, answer, verdict in zip(issues, answers, verdicts, strict=True)
    ]
