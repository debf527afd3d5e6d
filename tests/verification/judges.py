"""Verifiers that stand in for real ones on workers."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from rllm_assets.data.issues import FunctionTask
from rllm_assets.data.verdicts import Verdict
from rllm_assets.sandbox.jobs import SandboxUnavailableError

Job = tuple[FunctionTask, str | None]


class Echo:
    """Says the code as the reason."""

    grade = "weak"

    def __enter__(self) -> "Echo":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def verify_many(self, jobs: Sequence[Job]) -> list[Verdict]:
        return [self.judge(code) for _, code in jobs]

    def judge(self, code: str | None) -> Verdict:
        return Verdict(status="failed", reason=code or "nothing", tests_total=os.getpid())


class Fragile(Echo):
    """Dies of the code `poison`, or of `sting` once."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def judge(self, code: str | None) -> Verdict:
        if code == "poison" or (code == "sting" and not self._mark.exists()):
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().judge(code)


class Broken(Echo):
    """Has a fault."""

    def judge(self, code: str | None) -> Verdict:
        raise KeyError(code)


class Nowhere(Echo):
    def __init__(self) -> None:
        raise SandboxUnavailableError("no bubblewrap on node 7")
