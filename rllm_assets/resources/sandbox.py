"""The sandbox: where candidates are run."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from rllm_assets.verification import Verifier


class Sandbox(dg.ConfigurableResource):
    """Opens verifiers."""

    allow_unsandboxed: bool = Field(
        default=False,
        description="Run candidates without a strong sandbox; model-written code may then harm the machine.",
    )

    @contextlib.contextmanager
    def verifier(self) -> Iterator["Verifier"]:
        """Open a verifier.

        Raises:
            SandboxUnavailableError: where the machine offers no strong sandbox and `allow_unsandboxed` is not set.
        """
        from rllm_assets.verification import Verifier

        with Verifier(allow_unsandboxed=self.allow_unsandboxed) as verifier:
            yield verifier
