"""One verifier for the tests of this folder; where the machine has no strong sandbox, they are skipped with the reason."""

from collections.abc import Iterator

import pytest

from rllm_assets.sandbox.jobs import SandboxUnavailableError
from rllm_assets.verification import Verifier


@pytest.fixture(scope="session")
def verifier() -> Iterator[Verifier]:
    try:
        verifier = Verifier(workers=2)
    except SandboxUnavailableError as error:
        pytest.skip(f"no strong sandbox on this machine, its tests are skipped: {error}")
    with verifier:
        yield verifier
