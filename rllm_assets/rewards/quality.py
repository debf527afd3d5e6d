"""Findings of ruff on changed lines. Ruff parses code and runs none of it."""

import difflib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from rllm_assets.rewards.edits import Edit

# pyflakes, pycodestyle's errors, bugbear, comprehensions, simplifications, complexity: what a reviewer would say, no taste.
RULES = "E4,E7,E9,F,B,C4,SIM,C901,RET,PLE,PLW"
_SECONDS = 30
# What ruff calls code that does not parse; older versions gave it no name.
_UNPARSABLE = ("invalid-syntax", None)


class RuffError(RuntimeError):
    """Ruff is not installed, or did not do its work."""


def findings_on_changed_lines(edit: Edit) -> tuple[int, int]:
    """Return the number of ruff's findings on lines that an edit adds or changes in Python files, and of those lines.

    Comments that silence ruff do not count. In a file that does not parse, nothing can be found, so every changed line is a
    finding.

    Raises:
        RuffError: where ruff is not installed or fails.
    """
    findings = lines = 0
    for path, (before, after) in edit.items():
        if not path.endswith(".py"):
            continue
        changed = changed_lines(before, after)
        lines += len(changed)
        if changed:
            found = _findings(after, path)
            broken = any(code in _UNPARSABLE for code, _ in found)
            findings += len(changed) if broken else sum(row in changed for _, row in found)
    return findings, lines


def changed_lines(before: str, after: str) -> set[int]:
    """Return the numbers, from 1, of the lines of `after` that are not in `before`."""
    matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    return {
        line + 1
        for kind, _, _, start, end in matcher.get_opcodes()
        if kind in ("replace", "insert")
        for line in range(start, end)
    }


def _findings(code: str, path: str) -> list[tuple[str | None, int]]:
    """Return the rule and the line of each finding."""
    command = [_ruff(), "check", "--isolated", "--no-cache", "--quiet", "--exit-zero", "--ignore-noqa"]
    command += ["--select", RULES, "--output-format", "json", "--stdin-filename", Path(path).name, "-"]
    try:
        done = subprocess.run(command, input=code, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return [(finding["code"], int(finding["location"]["row"])) for finding in json.loads(done.stdout)]
    except (subprocess.SubprocessError, OSError, ValueError, KeyError, TypeError) as error:
        raise RuffError(f"ruff failed on {path}: {error}") from error


def _ruff() -> str:
    beside = Path(sys.executable).with_name("ruff")
    found = str(beside) if beside.exists() else shutil.which("ruff")
    if found is None:
        raise RuffError("rewards.terms.code_quality needs ruff: pip install 'rllm_assets[quality]'")
    return found
