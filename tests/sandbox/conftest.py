"""A strong sandbox to attack; where the machine has none, the tests that need it are skipped with the reason."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rllm_assets.sandbox.grades import probe
from rllm_assets.sandbox.jobs import Job, Limits, Outcome, Program
from rllm_assets.sandbox.pool import Pool

PYTHON = Program(modules=("tests.sandbox.program",), preload=("socket", "ctypes", "signal", "threading"))

Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def strong() -> None:
    why = probe("strong")
    if why is not None:
        pytest.skip(f"no strong sandbox on this machine, its tests are skipped: {why}")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can read, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="rllm-open-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def pool(strong: None) -> Iterator[Pool]:
    with Pool("strong", (PYTHON,), 1, Limits()) as pool:
        yield pool


@pytest.fixture
def run(pool: Pool) -> Run:
    return lambda code, **settings: pool.run(python_job(code, **settings))


def python_job(code: str, seconds: float = 20.0, **limits: int) -> Job:
    return Job(PYTHON.modules[-1], code.encode(), seconds, Limits(**limits))
