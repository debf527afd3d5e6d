"""The sandbox: where candidates are run."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from rllm_assets.config import DistributedConfig
    from rllm_assets.verification import Verifier
    from rllm_assets.verification.distributed import DistributedVerifier


class Sandbox(dg.ConfigurableResource):
    """Opens verifiers."""

    allow_unsandboxed: bool = Field(
        default=False,
        description="Run candidates without a strong sandbox; model-written code may then harm the machine.",
    )

    @contextlib.contextmanager
    def verifier(self, distributed: "DistributedConfig") -> Iterator["Verifier | DistributedVerifier"]:
        """Open a verifier here, or on the Ray cluster.

        Raises:
            SandboxUnavailableError: where a machine offers no strong sandbox and `allow_unsandboxed` is not set.
            ComputeError: where the cluster does not answer or has no room.
        """
        from rllm_assets.verification.distributed import open_verifier

        with open_verifier(distributed, self.allow_unsandboxed) as verifier:
            yield verifier
