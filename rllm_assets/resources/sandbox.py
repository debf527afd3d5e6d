"""The sandbox: where candidates are run."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from rllm_assets.config import RLLMConfig

if TYPE_CHECKING:
    from rllm_assets.verification import Verifier


class Sandbox(dg.ConfigurableResource):
    """Opens verifiers."""

    allow_unsandboxed: bool = Field(
        default=False,
        description="Run candidates without a strong sandbox; model-written code may then harm the machine.",
    )

    @contextlib.contextmanager
    def verifier(self, config: RLLMConfig) -> Iterator["Verifier"]:
        """Open a verifier where the configuration says: on this machine, or on Ray.

        Raises:
            dagster.Failure: where there is no strong sandbox; not retried.
        """
        from rllm_assets.sandbox.grades import SandboxUnavailableError
        from rllm_assets.verification import Verifier

        try:
            verifier = Verifier(allow_unsandboxed=self.allow_unsandboxed)
        except SandboxUnavailableError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        with verifier:
            yield verifier
