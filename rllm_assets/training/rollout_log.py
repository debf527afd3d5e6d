"""What is told and kept of the answers of a training step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rllm_assets.rollouts import Rollout
from rllm_assets.training.rounds import is_informative


def rollout_metrics(groups: Sequence[Sequence[Rollout]]) -> dict[str, float]:
    """Return rewards, rates and lengths of a batch of rollouts."""
    rollouts = [rollout for group in groups for rollout in group]
    counted = [rollout for rollout in rollouts if rollout.reward is not None]
    rewards = [rollout.reward or 0.0 for rollout in counted]
    informative = sum(map(is_informative, groups))
    metrics = {
        "reward": sum(rewards) / max(1, len(rewards)),
        "pass_rate": sum(r.verdict.resolved for r in counted) / max(1, len(counted)),
        "format_rate": sum(r.candidate is not None for r in rollouts) / len(rollouts),
        "no_verdict_rate": 1 - len(counted) / len(rollouts),
        "response_tokens": sum(r.sample.length for r in rollouts) / len(rollouts),
        "truncated_rate": sum(not r.sample.finished for r in rollouts) / len(rollouts),
        "informative_groups": float(informative),
    }
    for name in counted[0].score.terms if counted else ():
        metrics[f"reward_{name}"] = sum(r.score.terms[name] for r in counted) / len(counted)
    return metrics


def nothing_learned(steps: Sequence[Mapping[str, float]]) -> str:
    """Return why reinforcement moved nothing, where in no step any answer earned more than those it is compared with."""
    sampled = [row for row in steps if "pass_rate" in row]
    solved, read = (sum(row[name] for row in sampled) / max(1, len(sampled)) for name in ("pass_rate", "format_rate"))
    if read < 0.5:
        why = f"only {read:.0%} of the answers could be read: begin with a warm start (training.warm_start)"
    elif solved == 0:
        why = "no answer resolved its issue: use easier issues, more answers an issue (training.group_size), or a warm start"
    elif solved == 1:
        why = "every answer resolved its issue: use harder issues"
    else:
        why = "rewards.terms cannot tell them apart"
    return f"nothing was learned from reinforcement: in every step all answers that are compared earned the same; {why}"


def rollout_rows(step: int, groups: Sequence[Sequence[Rollout]]) -> Iterator[dict[str, Any]]:
    """Yield what is kept of each answer: who was asked, what was said, how it was judged, and what each term gave."""
    for group in groups:
        for number, rollout in enumerate(group):
            yield {
                "step": step,
                "instance_id": rollout.issue.instance_id,
                "sample": number,
                "response": rollout.sample.text,
                "response_tokens": rollout.sample.length,
                "finished": rollout.sample.finished,
                "status": rollout.verdict.status,
                "reason": rollout.verdict.reason,
                "reward": rollout.reward,
                **{f"reward_{name}": value for name, value in rollout.score.terms.items()},
            }
