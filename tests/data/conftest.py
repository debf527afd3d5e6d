"""A repository at a GitHub of our own, for all that is read from there."""

import pytest

from tests.data.fake_github import TOKEN, FakeGitHub
from tests.data.github_history import History, make_history, publish


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> History:
    return make_history(tmp_path_factory.mktemp("history") / "calc")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    return tmp_path / "cache"


@pytest.fixture
def github(cache, history):
    with FakeGitHub().running() as server:
        publish(history, server)
        yield server
