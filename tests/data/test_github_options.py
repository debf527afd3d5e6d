"""The options of the source `github`, and what is said of wrong ones."""

import json

import pytest

from rllm_assets.data.benchmarks import BenchmarkError, read_benchmark
from rllm_assets.data.sources import github as source
from rllm_assets.data.sources import load_issues
from tests.data.fake_github import TOKEN
from tests.data.github_history import REPO


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repo": "calc"}, "options.repo: owner/name is expected, not 'calc'"),
        ({}, "calc came from does not say"),
        ({"repo": "../.."}, "options.repo: owner/name is expected, not '../..'"),
        ({"api": "http://api.github.com"}, "options.api: an address is expected, https://api.github.com or"),
        ({"api": "https://a@b.c"}, "options.api: an address is expected"),
        ({"api": "https://a.b?x=1"}, "options.api: an address is expected"),
        ({"since": "lately"}, "options.since: a day or a time in ISO 8601 is expected, not 'lately'"),
        ({"since": 2023}, "options.since: a day or a time in ISO 8601 is expected, not 2023"),
        ({"without_issue": "yes"}, "options.without_issue: true or false is expected, not 'yes'"),
        ({"pages": 3}, "options.pages: unknown to the source github; "),
        ({"clones": "x"}, "options.clones: without effect: path is a clone, which holds the commits"),
        ({"token": "MY_TOKEN", "repo": REPO}, "options.token: the environment variable MY_TOKEN is not set"),
    ],
)
def test_a_wrong_option_is_named(cache, history, tmp_path, monkeypatch, options, message):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    path = tmp_path / "benchmark.yaml"
    path.write_text(json.dumps({"id": "b", "source": "github", "path": str(history.clone), "options": options}))
    with pytest.raises(BenchmarkError) as caught:
        load_issues(read_benchmark(path))
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [TOKEN, "github_pat_11ABC", "0123456789abcdef0123456789abcdef01234567", "a b", 3])
def test_a_token_in_the_place_of_its_name_is_not_repeated(cache, history, tmp_path, value):
    path = tmp_path / "benchmark.yaml"
    path.write_text(
        json.dumps({"id": "b", "source": "github", "path": str(history.clone), "options": {"token": value}})
    )
    with pytest.raises(BenchmarkError) as caught:
        load_issues(read_benchmark(path))
    expected = f"{path}: options.token: the name of an environment variable is expected, and never a token itself"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2023-01-01", "2023-01-01T00:00:00Z"),
        ("2023-01-01T02:00:00+02:00", "2023-01-01T00:00:00Z"),
        ("2023-01-01T02:00:00Z", "2023-01-01T02:00:00Z"),
        (None, ""),
    ],
)
def test_times_are_written_as_github_does(since, expected):
    assert source.utc(since) == expected
