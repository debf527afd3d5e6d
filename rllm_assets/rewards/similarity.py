"""How alike two edits are."""

import difflib

from rllm_assets.rewards.edits import Edit

# Ratcliff and Obershelp's algorithm is quadratic; nothing that long is a fix.
_LONGEST = 20_000


def similarity(candidate: Edit, gold: Edit) -> float:
    """Return the mean over the files of either edit of ``SequenceMatcher(None, a, b, autojunk=False).ratio()`` of their diffs.

    A file that only one of them changes counts 0 (SWE-RL, arXiv 2502.18449, section 2.2). Diffs are compared by their first
    20,000 characters.
    """
    paths = list({**candidate, **gold})
    if not paths:
        return 0.0
    return sum(_alike(_diff(candidate, path), _diff(gold, path)) for path in paths) / len(paths)


def _alike(a: str, b: str) -> float:
    if not a or not b:
        return 0.0
    return difflib.SequenceMatcher(None, a[:_LONGEST], b[:_LONGEST], autojunk=False).ratio()


def _diff(edit: Edit, path: str) -> str:
    before, after = edit.get(path, ("", ""))
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=3, lineterm="")
    # Without the two lines of names, which every diff has alike.
    return "\n".join(list(lines)[2:])
