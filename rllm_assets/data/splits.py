"""Dividing issues so that nothing of what is held out was seen: whole groups, by hash."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from rllm_assets.config import SplitsConfig
from rllm_assets.data.issues import Issue

TUNING_FOLD = 0


class SplitError(ValueError):
    """The issues cannot be divided as configured; the message says why and what to do."""


@dataclass(frozen=True)
class Splits:
    """Issues to train on, each with its fold, and issues to validate on."""

    train: list[Issue]
    folds: list[int]
    val: list[Issue]


def split_issues(issues: Sequence[Issue], config: SplitsConfig) -> Splits:
    """Divide issues by their groups (the function, or the repository).

    A group's side and fold are a hash of the seed and its own key: issues that are added later move no others.

    Raises:
        SplitError: where a side would be too small to mean anything.
    """
    groups = sorted({issue.group for issue in issues})
    held_out = {group for group in groups if is_held_out(group, config)}
    if len(held_out) < config.min_val_groups or len(held_out) == len(groups):
        raise SplitError(
            f"{len(held_out)} of {len(groups)} groups would be held out, at least {config.min_val_groups} and not all are "
            "needed: add issues on more functions or repositories, or change splits.val_fraction or splits.seed"
        )
    train = [issue for issue in issues if issue.group not in held_out]
    return Splits(
        train=train,
        folds=fold_numbers(train, config),
        val=[issue for issue in issues if issue.group in held_out],
    )


def is_held_out(group: str, config: SplitsConfig) -> bool:
    """Tell on which side of the split a group will be; no other issue has a say in that."""
    return _uniform(config.seed, "side", group) < config.val_fraction


def fold_numbers(issues: Sequence[Issue], config: SplitsConfig) -> list[int]:
    """Return the fold of each issue, the same for all of a group."""
    return [int(_uniform(config.seed, "fold", issue.group) * config.folds) for issue in issues]


def _uniform(seed: int, purpose: str, group: str) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}:{purpose}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def leaks(train: Sequence[Issue], val: Sequence[Issue]) -> list[str]:
    """Return what both sides share: groups, ids, content, fixes, statements; an empty list is what is wanted."""
    found: list[str] = []
    for what, key in (
        ("group", lambda issue: issue.group),
        ("instance_id", lambda issue: issue.instance_id),
        ("content", lambda issue: issue.content_hash),
        ("problem_statement", lambda issue: " ".join(issue.problem_statement.lower().split())),
        ("patch", lambda issue: issue.patch),
    ):
        shared = {key(issue) for issue in train} & {key(issue) for issue in val} - {""}
        found += [f"{what} {value[:80]!r} is on both sides" for value in sorted(shared)]
    return found
