"""Episodes: answers in several turns, each with what came of the turn before.

The tokens of an episode are those that were sampled, with those of the observations between them as the chat template writes
them: nothing is decoded and tokenised again, so that what is learned is what was sampled. Episodes go on side by side, a turn
of all at a time.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from rllm_assets.config import AgentConfig
from rllm_assets.data.answers import AnswerFormat
from rllm_assets.data.answers.agent import NOTHING_TO_DO, observation
from rllm_assets.data.answers.edits import shown_tree
from rllm_assets.data.answers.formats import Action
from rllm_assets.data.changes import ChangeError, Changes, Tree, applied
from rllm_assets.data.issues import Issue
from rllm_assets.data.search_replace import apply_blocks
from rllm_assets.data.trajectories import Message
from rllm_assets.models.sampler import Sample
from rllm_assets.models.samplers import AnswerSampler
from rllm_assets.verification.shell import Ran

RunCommands = Callable[[Sequence[tuple[Tree, str]], float], list[Ran]]


@dataclass
class Episode:
    """One try at an issue: what was said and done so far.

    `given` says which of the tokens are observations; `logprobs` has a number for each of the others. It is `over` when it was
    submitted, or a limit was reached, and `finished` only when it was submitted. `failure` is the sandbox's.
    """

    issue: Issue
    tree: Tree
    prompt_ids: list[int]
    seed: int
    number: int
    temperature: float
    changes: Changes = field(default_factory=dict)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    given: list[bool] = field(default_factory=list)
    turns: list[Message] = field(default_factory=list)
    answers: int = 0
    over: bool = False
    finished: bool = False
    failure: str = ""

    def sample(self) -> Sample:
        """Return the episode as one answer; it ends with a token that was sampled."""
        end = len(self.given)
        while end and self.given[end - 1]:
            end -= 1
        text = "\n\n".join(str(turn["content"]) for turn in self.turns if turn["role"] == "assistant")
        return Sample(self.token_ids[:end], self.logprobs, text, self.finished, tuple(self.given[:end]))

    def hear(self, answer: Sample, room: int) -> None:
        """Add what the policy said, as much of it as there is room for."""
        tokens = answer.token_ids[:room]
        self.token_ids += tokens
        self.logprobs += answer.logprobs[:room]
        self.given += [False] * len(tokens)
        self.turns.append({"role": "assistant", "content": answer.text})
        self.answers += 1
        self.over = not answer.finished or len(answer.token_ids) > room

    def tell(self, content: str, suffix: list[int]) -> None:
        """Add what the policy gets to see."""
        self.token_ids += suffix
        self.given += [True] * len(suffix)
        self.turns.append({"role": "user", "content": content})


def play(
    sampler: AnswerSampler,
    tokenizer: PreTrainedTokenizerBase,
    answer_format: AnswerFormat,
    run_commands: RunCommands,
    issues: Sequence[Issue],
    prompts: Sequence[list[int]],
    *,
    samples: int,
    temperature: float | Sequence[float],
    max_response_tokens: int,
    seeds: Sequence[int],
    limits: AgentConfig,
    progress: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[list[Episode]]:
    """Play `samples` episodes of each issue to their ends.

    Args:
        sampler: answers each turn.
        tokenizer: writes observations by the model's chat template.
        answer_format: one with turns.
        run_commands: runs commands in trees, side by side.
        issues: what is to be fixed.
        prompts: token ids of each issue's prompt.
        samples: episodes an issue.
        temperature: of sampling, one for all or one for each of the `samples`.
        max_response_tokens: of an episode, observations included.
        seeds: one an issue; with the turn and the number of the episode it decides what is drawn.
        limits: on turns, tokens and time.
        progress: called with the number of episodes that have ended since the last call.
        clock: seconds, of the wall.

    Returns:
        For each issue its episodes, in order.
    """
    temperatures = [temperature] * samples if isinstance(temperature, int | float) else list(temperature)
    groups = [
        [Episode(issue, tree, prompt, seed, number, each) for number, each in enumerate(temperatures)]
        for issue, prompt, seed in zip(issues, prompts, seeds, strict=True)
        for tree in [shown_tree(issue)]
    ]
    began = clock()
    first = sampler.sample(
        prompts,
        samples,
        temperature=temperatures,
        max_tokens=min(limits.turn_tokens, max_response_tokens),
        seeds=seeds,
        stop=answer_format.complete,
    )
    episodes = [episode for group in groups for episode in group]
    answered = list(zip(episodes, (said for answers in first for said in answers), strict=True))
    while answered:
        for episode, said in answered:
            episode.hear(said, max_response_tokens - len(episode.token_ids))
        _act([episode for episode, _ in answered], answer_format, run_commands, tokenizer, limits, max_response_tokens)
        going = [episode for episode, _ in answered if not episode.over]
        if clock() - began > limits.max_seconds:
            for episode in going:
                episode.over = True
        if progress is not None:
            progress(sum(episode.over for episode, _ in answered))
        answered = _next_turn(sampler, [e for e in going if not e.over], answer_format, limits, max_response_tokens)
    return groups


def _next_turn(
    sampler: AnswerSampler, going: Sequence[Episode], answer_format: AnswerFormat, limits: AgentConfig, most: int
) -> list[tuple[Episode, Sample]]:
    answered: list[tuple[Episode, Sample]] = []
    for temperature in sorted({episode.temperature for episode in going}):
        chosen = [episode for episode in going if episode.temperature == temperature]
        drawn = sampler.sample(
            [[*episode.prompt_ids, *episode.token_ids] for episode in chosen],
            1,
            temperature=temperature,
            max_tokens=min(limits.turn_tokens, max(most - len(episode.token_ids) for episode in chosen)),
            seeds=[_seed(episode) for episode in chosen],
            stop=answer_format.complete,
        )
        answered += [(episode, said) for episode, (said,) in zip(chosen, drawn, strict=True)]
    return answered


def _seed(episode: Episode) -> int:
    """Return a seed for the next turn of an episode, whatever other episodes are played beside it."""
    said = hashlib.sha256(f"{episode.seed}:{episode.number}:{episode.answers}".encode()).digest()
    return int.from_bytes(said[:6], "big")


def _act(
    episodes: Sequence[Episode],
    answer_format: AnswerFormat,
    run_commands: RunCommands,
    tokenizer: PreTrainedTokenizerBase,
    limits: AgentConfig,
    most: int,
) -> None:
    """Do what the last turns ask for, and tell what came of it."""
    assert answer_format.act is not None
    told: list[tuple[Episode, list[str]]] = []
    commands: list[tuple[Episode, list[str], str]] = []
    for episode in episodes:
        # An answer that was cut off is not acted on.
        if episode.over:
            continue
        action = answer_format.act(str(episode.turns[-1]["content"]))
        notes = _edited(episode, action)
        if action.submits:
            episode.over = episode.finished = True
            continue
        if episode.answers >= limits.max_turns:
            episode.over = True
        told.append((episode, notes))
        if action.command is not None:
            commands.append((episode, notes, action.command))
        elif not notes:
            notes.append(NOTHING_TO_DO)
    if commands:
        trees = [(applied(episode.tree, episode.changes), command) for episode, _, command in commands]
        for (episode, notes, _), ran in zip(commands, run_commands(trees, limits.command_seconds), strict=True):
            if ran.failure:
                episode.failure, episode.over = ran.failure, True
            episode.changes.update(ran.changes)
            notes.append(observation(ran.output, ran.code, limits.observation_characters))
    for episode, notes in told:
        if episode.over:
            continue
        content = "\n".join(notes)
        suffix = observation_tokens(tokenizer, content, episode.token_ids[-1])
        if len(episode.token_ids) + len(suffix) >= most:
            episode.over = True
        else:
            episode.tell(content, suffix)


def _edited(episode: Episode, action: Action) -> list[str]:
    if action.edits is None:
        return []
    try:
        changes = apply_blocks(applied(episode.tree, episode.changes), action.edits)
    except ChangeError as error:
        return [f"Not edited: {error}"]
    episode.changes.update(changes)
    return [f"Edited: {', '.join(changes)}"]


_HERE = "\u241e"


def observation_tokens(tokenizer: PreTrainedTokenizerBase, content: str, last: int) -> list[int]:
    """Return the tokens between one answer and the next: the end of the answer, the observation, and the next one's beginning.

    They are what the chat template writes there. A token that ends the answer and was sampled is not written twice.

    Args:
        tokenizer: has the template.
        content: the observation.
        last: the last token of the answer.
    """
    messages = [
        {"role": "user", "content": "."},
        {"role": "assistant", "content": _HERE},
        {"role": "user", "content": content},
    ]
    text = str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    ids: list[int] = tokenizer(text.split(_HERE, 1)[1], add_special_tokens=False)["input_ids"]  # pyright: ignore[reportAssignmentType]
    return ids[1:] if ids and ids[0] == last else ids
