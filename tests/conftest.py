"""Fixtures that several folders share."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

# Nothing in the tests may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# Two workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A shell without job control starts what runs in the background with SIGINT ignored. Dagster then ignores SIGTERM as well, and
# so would every program that a test starts and means to stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests in tests/gpu do without.
if find_spec("hypothesis"):
    from hypothesis import settings

    # A slow machine is no failure.
    settings.register_profile("unhurried", deadline=None)
    settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests, and all that share one Ray, on one worker; what takes longest starts first."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(Path(__file__).parent).as_posix()))

    slow = {_group(item) for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: (_group(item) != "ray", _group(item) not in slow))


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    return marker.args[0]


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
