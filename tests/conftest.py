"""Fixtures that several folders share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Nothing in the tests may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A slow machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The directory of real issues and trajectories named by RLLM_TEST_DATA."""
    value = os.environ.get("RLLM_TEST_DATA")
    if not value or not Path(value).is_dir():
        pytest.skip(
            "RLLM_TEST_DATA names no directory of real issues and trajectories: tests on real files are skipped"
        )
    return Path(value)
