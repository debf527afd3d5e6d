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
        """Open a verifier; fails as `refusing`."""
        from rllm_assets.verification import Verifier

        with self.refusing(), Verifier(allow_unsandboxed=self.allow_unsandboxed) as verifier:
            yield verifier

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Turn a machine's want of a strong sandbox into a failure that Dagster does not retry."""
        from rllm_assets.sandbox import SandboxUnavailableError

        try:
            yield
        except SandboxUnavailableError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
