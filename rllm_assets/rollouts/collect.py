"""Rollouts: sampled answers to issues, each with its verdict and reward."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rllm_assets.config import AgentConfig
from rllm_assets.data.answers import AnswerFormat, NoCandidateError
from rllm_assets.data.answers.agent import work_of
from rllm_assets.data.issues import Issue
from rllm_assets.data.trajectories import Attempt, Kind, Message
from rllm_assets.data.verdicts import Verdict
from rllm_assets.models.sampler import Sample
from rllm_assets.rewards import Judged, Score, Scorer
from rllm_assets.rollouts.asking import AnySampler, Conversation, ask
from rllm_assets.rollouts.episodes import Episode, play
from rllm_assets.verification.shell import Command, Ran


class PromptTooLongError(ValueError):
    """An issue's prompt is longer than `model.max_prompt_tokens`, or than what responses leave of the context."""


class Verifier(Protocol):
    """What judges candidates: `rllm_assets.verification.Verifier`, or the same on a cluster."""

    def verify_many(self, jobs: Sequence[tuple[Issue, str | None]]) -> list[Verdict]:
        """Judge (issue, candidate) pairs, in their order."""
        ...

    def run_commands(self, commands: Sequence[Command], seconds: float) -> list[Ran]:
        """Run commands of agents, each in its tree and for so many seconds at most, in their order."""
        ...


@dataclass(frozen=True)
class Judge:
    """Everything that stands between an answer and its reward."""

    answer_format: AnswerFormat
    verifier: Verifier
    scorer: Scorer
    agent: AgentConfig = field(default_factory=AgentConfig)


@dataclass(frozen=True)
class Rollout:
    """One sampled answer, judged; `turns` are its messages and the observations between them, where it has several."""

    issue: Issue
    prompt_ids: list[int]
    sample: Sample
    candidate: str | None
    verdict: Verdict
    score: Score
    turns: tuple[Message, ...] = ()

    @property
    def reward(self) -> float | None:
        """The reward; None where the infrastructure gave no verdict."""
        return self.score.reward


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], limit: int, instance_id: str = "the prompt"
) -> list[int]:
    """Return a prompt's token ids by the model's own chat template, which also adds the special tokens.

    Where the template has no system messages, as Gemma's, what they say is put before the first user's message.

    Raises:
        PromptTooLongError: beyond `limit` tokens.
    """
    try:
        ids = _templated(tokenizer, messages)
    except TemplateError:
        ids = _templated(tokenizer, without_system(messages))
    if len(ids) > limit:
        raise PromptTooLongError(
            f"{instance_id} has {len(ids)} prompt tokens, more than the {limit} that model.max_prompt_tokens and the model's "
            "context allow"
        )
    return ids


def _templated(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    # With tokenize, no special tokens are added to those of the template: a second BOS would be one that no training had.
    return tokenizer.apply_chat_template(  # pyright: ignore[reportReturnType]
        list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
    )


def without_system(messages: Sequence[Message]) -> list[Message]:
    """Return a conversation whose system messages are part of the first message that is none."""
    said = [str(message["content"]) for message in messages if message["role"] == "system"]
    first, *others = [message for message in messages if message["role"] != "system"]
    return [{**first, "content": "\n\n".join([*said, str(first["content"])])}, *others]


def fitting(
    issues: Sequence[Issue], tokenizer: PreTrainedTokenizerBase, answer_format: AnswerFormat, limit: int
) -> tuple[list[Issue], list[str]]:
    """Return the issues whose prompts have at most `limit` tokens, and what there is to say about each of the others."""
    kept: list[Issue] = []
    left_out: list[str] = []
    for issue in issues:
        try:
            prompt_tokens(tokenizer, answer_format.prompt(issue), limit, issue.instance_id)
            kept.append(issue)
        except PromptTooLongError as error:
            left_out.append(str(error))
    return kept, left_out


def collect(
    sampler: AnySampler,
    tokenizer: PreTrainedTokenizerBase,
    judge: Judge,
    issues: Sequence[Issue],
    *,
    samples: int,
    temperature: float | Sequence[float],
    max_prompt_tokens: int,
    max_response_tokens: int,
    seeds: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> list[list[Rollout]]:
    """Sample `samples` answers to each issue and judge them.

    The answers to an issue depend on its seed alone, one of `seeds` an issue, not on the issues beside it.

    Returns:
        For each issue its rollouts, in order.
    """
    answer_format = judge.answer_format
    questions = [answer_format.prompt(issue) for issue in issues]
    prompts = [
        Conversation(prompt_tokens(tokenizer, messages, max_prompt_tokens, issue.instance_id), messages)
        for issue, messages in zip(issues, questions, strict=True)
    ]
    if answer_format.act is not None:
        played = play(
            sampler,
            tokenizer,
            answer_format,
            judge.verifier.run_commands,
            issues,
            prompts,
            samples=samples,
            temperature=temperature,
            max_response_tokens=max_response_tokens,
            seeds=seeds,
            limits=judge.agent,
            progress=progress,
        )
        return _judged_episodes(judge, played, max_response_tokens)
    drawn = ask(
        sampler,
        prompts,
        samples,
        temperature=temperature,
        max_tokens=max_response_tokens,
        seeds=seeds,
        stop=answer_format.complete,
        progress=progress,
    )
    asked = [issue for issue, answers in zip(issues, drawn, strict=True) for _ in answers]
    flat = [sample for answers in drawn for sample in answers]
    candidates = [candidate_of(answer_format, issue, sample.text) for issue, sample in zip(asked, flat, strict=True)]
    verdicts = _verdicts(judge.verifier, asked, candidates, [sample.failure for sample in flat])
    judged = iter(zip(candidates, verdicts, strict=True))
    return [
        [
            _scored(judge.scorer, issue, prompt.token_ids, answer, *next(judged), max_response_tokens)
            for answer in answers
        ]
        for issue, prompt, answers in zip(issues, prompts, drawn, strict=True)
    ]


def _verdicts(
    verifier: Verifier, issues: Sequence[Issue], candidates: Sequence["Candidate"], failures: Sequence[str]
) -> list[Verdict]:
    """Judge the candidates; where sampling or the sandbox failed, what is there says nothing of the policy."""
    sound = [index for index, failure in enumerate(failures) if not failure]
    verdicts = [Verdict(status="no_verdict", reason=failure) for failure in failures]
    judged = verified(verifier, [issues[index] for index in sound], [candidates[index] for index in sound])
    for index, verdict in zip(sound, judged, strict=True):
        verdicts[index] = verdict
    return verdicts


def _judged_episodes(judge: Judge, played: Sequence[Sequence[Episode]], limit: int) -> list[list[Rollout]]:
    episodes = [episode for group in played for episode in group]
    candidates = [_work_of(episode) for episode in episodes]
    issues = [episode.issue for episode in episodes]
    verdicts = _verdicts(judge.verifier, issues, candidates, [episode.failure for episode in episodes])
    rollouts = iter(
        replace(
            _scored(judge.scorer, episode.issue, episode.prompt.token_ids, episode.sample(), candidate, verdict, limit),
            turns=tuple(episode.turns),
        )
        for episode, candidate, verdict in zip(episodes, candidates, verdicts, strict=True)
    )
    return [[next(rollouts) for _ in group] for group in played]


def _work_of(episode: Episode) -> "Candidate":
    try:
        return Candidate(work_of(episode.issue, episode.tree, episode.changes))
    except NoCandidateError as error:
        return Candidate(None, str(error))


@dataclass(frozen=True)
class Candidate:
    """What an answer holds to be judged; None where it holds nothing, with the reason."""

    text: str | None
    reason: str = ""


def candidate_of(answer_format: AnswerFormat, issue: Issue, response: str) -> Candidate:
    """Return the candidate in an answer."""
    try:
        return Candidate(answer_format.extract(issue, response))
    except NoCandidateError as error:
        return Candidate(None, str(error))


def verified(verifier: Verifier, issues: Sequence[Issue], candidates: Sequence[Candidate]) -> list[Verdict]:
    """Judge a candidate of each issue; an answer that held none is told why."""
    verdicts = verifier.verify_many([(issue, one.text) for issue, one in zip(issues, candidates, strict=True)])
    return [
        verdict.model_copy(update={"reason": one.reason}) if one.reason and verdict.counts else verdict
        for verdict, one in zip(verdicts, candidates, strict=True)
    ]


def _scored(
    scorer: Scorer, issue: Issue, prompt: list[int], sample: Sample, candidate: Candidate, verdict: Verdict, limit: int
) -> Rollout:
    score = scorer.score(Judged(issue, sample.text, candidate.text, verdict, sample.length, limit, sample.finished))
    return Rollout(issue, prompt, sample, candidate.text, verdict, score)


def to_attempt(
    rollout: Rollout, answer_format: AnswerFormat, attempt: int, policy: str, kind: Kind = "rollout"
) -> Attempt:
    """Return the table row of a rollout."""
    return Attempt(
        instance_id=rollout.issue.instance_id,
        group=rollout.issue.group,
        kind=kind,
        attempt=attempt,
        policy=policy,
        prompt=answer_format.prompt(rollout.issue),
        response=rollout.sample.text,
        response_tokens=rollout.sample.length,
        finished=rollout.sample.finished,
        turns=list(rollout.turns),
        candidate=(rollout.candidate or "") if rollout.turns else "",
        verdict=rollout.verdict,
        reward=rollout.reward,
    )
