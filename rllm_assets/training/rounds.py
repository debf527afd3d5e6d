"""The rollouts of one step: shared among the workers, and asked for again until enough of them teach something."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from rllm_assets.data.issues import Issue
from rllm_assets.models.samplers import PolicySampler
from rllm_assets.rollouts import Judge, Rollout, collect
from rllm_assets.training.collective import Collective

Group = Sequence[Rollout]


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of one step.

    `groups` are all that were sampled, in order; `kept` those that are trained on.
    """

    groups: list[Group]
    kept: list[Group]
    rounds: int


@dataclass(frozen=True)
class Source:
    """Where rollouts come from."""

    sampler: PolicySampler
    tokenizer: PreTrainedTokenizerBase
    judge: Judge
    collective: Collective
    max_prompt_tokens: int

    def collect(
        self, issues: Sequence[Issue], *, samples: int, temperature: float, max_response_tokens: int, seed: int
    ) -> list[Group]:
        """Collect rollouts, each worker those of its share of the issues; every worker gets all of them."""
        rank, size = self.collective.rank, self.collective.size
        mine = list(range(rank, len(issues), size))
        groups = collect(
            self.sampler,
            self.tokenizer,
            self.judge,
            [issues[index] for index in mine],
            samples=samples,
            temperature=temperature,
            max_prompt_tokens=self.max_prompt_tokens,
            max_response_tokens=max_response_tokens,
            seeds=[seed + index for index in mine],
        )
        shares = self.collective.gather(list(zip(mine, groups, strict=True)))
        return [group for _, group in sorted((pair for share in shares for pair in share), key=lambda pair: pair[0])]


def sample_rounds(ask: Callable[[int, int], list[Group]], wanted: int, rounds: int, *, drop_uniform: bool) -> Rollouts:
    """Ask for groups until `wanted` of them are informative, `rounds` times at most (dynamic sampling, arXiv 2503.14476).

    Args:
        ask: given how many groups to sample and how many there are already, returns new ones.
        wanted: groups to train on.
        rounds: with 1, what comes is kept.
        drop_uniform: leave out groups whose answers all earned the same even then.
    """
    groups: list[Group] = []
    kept: list[Group] = []
    for number in range(1, rounds + 1):
        new = ask(wanted - len(kept), len(groups))
        groups += new
        kept += [group for group in new if is_informative(group)] if rounds > 1 or drop_uniform else new
        if len(kept) == wanted or number == rounds:
            return Rollouts(groups, kept, number)
    raise ValueError("at least one round is needed")


def is_informative(group: Group) -> bool:
    """Whether the answers of a group earned different rewards: only then one can be better than another."""
    return len({rollout.reward for rollout in group if rollout.reward is not None}) > 1
