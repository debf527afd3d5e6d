"""Run every attack and print the table of docs/security.md; end with an error where one that is stopped gets through.

python -m tests.attacks
"""

import ast
import sys
from collections.abc import Iterator
from typing import NamedTuple

from rllm_assets.data.verdicts import Verdict
from rllm_assets.sandbox.jobs import Job, Limits
from rllm_assets.sandbox.pool import Pool
from rllm_assets.verification import Verifier
from tests.attacks import functions, host, repositories, resources, suites
from tests.sandbox.conftest import PYTHON
from tests.verification.repository import issue


class Row(NamedTuple):
    aim: str
    attack: str
    stopped: bool
    outcome: str


def rows() -> Iterator[Row]:
    """Run the attacks, in turn."""
    with Pool("strong", (PYTHON,), 1, Limits()) as pool:
        for name, code in host.ATTACKS.items():
            guarded = f"try:\n  exec({code!r})\nexcept (OSError, ValueError) as e: tell(str(e))\nelse: tell('done')"
            outcome = pool.run(Job(PYTHON.modules[-1], guarded.encode(), 20.0))
            said = ast.literal_eval(outcome.result.decode())
            yield Row("the host", name, said != "done", said)
        for name, greed in resources.ATTACKS.items():
            outcome = pool.run(Job(PYTHON.modules[-1], greed.code.encode(), greed.seconds))
            left = pool.survivors()
            how = f"{outcome.ended}, {len(left)} processes left"
            yield Row("resources", name, outcome.ended in greed.endings and not left, how)
    with Verifier() as verifier:
        for name, code in functions.ATTACKS.items():
            yield _judged("a function's verdict", name, verifier.verify(functions.secret(), code))
        for name, code in suites.ATTACKS.items():
            yield _judged("a suite's verdict", name, verifier.verify(suites.halve(name), code))
        asked = issue(timeout=5.0)
        for name, code in {**repositories.ATTACKS, **repositories.GETS_THROUGH}.items():
            yield _judged("a repository's verdict", name, verifier.verify(asked, code))


def _judged(aim: str, name: str, verdict: Verdict) -> Row:
    return Row(
        aim, name, not verdict.resolved, f"{verdict.status}: {verdict.reason}" if verdict.reason else verdict.status
    )


def main() -> int:
    """Print the table; return 1 where something got through that must not."""
    surprises = 0
    print("| aim | attack | stopped | how it ended |\n|---|---|---|---|")
    for row in rows():
        expected = row.attack not in repositories.GETS_THROUGH
        surprises += row.stopped != expected
        outcome = row.outcome.replace(sys.base_prefix, "PYTHON").replace("|", "\\|")
        outcome = outcome if len(outcome) <= 110 else outcome[:107] + "..."
        print(f"| {row.aim} | {row.attack} | {'yes' if row.stopped else '**no**'} | {outcome} |", flush=True)
    if surprises:
        print(f"\n{surprises} attacks did not end as docs/security.md says", file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
