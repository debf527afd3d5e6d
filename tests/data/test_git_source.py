"""Mining a history: which commits become issues, and what of them."""

import pytest

from rllm_assets.data.benchmarks import BenchmarkError, read_benchmark
from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.data.paths import is_test
from rllm_assets.data.sources import git as source
from rllm_assets.data.sources import load_issues
from tests.data.repositories import calculator, commit, git


def test_commits_that_fix_and_test_become_issues(tmp_path):
    made = calculator(tmp_path / "calc")
    issues = [issue for issue in source.read(tmp_path / "calc", "bench", repo="o/calc") if isinstance(issue, Issue)]
    assert [issue.instance_id for issue in issues] == [
        f"o__calc-{made[name][:10]}" for name in ("flaky", "no proof", "fix")
    ]
    fix = issues[-1]
    assert (fix.repo, fix.base_commit, fix.created_at) == ("o/calc", made["docs"], "2024-05-06T07:08:09+00:00")
    assert fix.problem_statement == "Fix #12: add subtracts\n\nReported by many."
    assert fix.labels == ["#12"]
    assert "calc/money.py" in fix.patch
    assert "README" not in fix.patch
    assert "test" not in fix.patch.replace("latest", "")
    assert fix.test_patch.startswith("diff --git a/tests/test_money.py")
    assert fix.source.repository == str((tmp_path / "calc").resolve())
    assert fix.source.file == made["fix"]
    assert (fix.FAIL_TO_PASS, fix.PASS_TO_PASS) == ([], [])


def test_a_change_that_is_no_text_costs_that_commit(tmp_path):
    made = calculator(tmp_path / "calc")
    latin = commit(
        tmp_path / "calc",
        "Fix the accent",
        {"calc/name.py": b"# coding: latin-1\nNAME = '\xe9'\n", "tests/test_name.py": "def test_name():\n    pass\n"},
    )
    first, second, *_ = source.read(tmp_path / "calc", "bench", repo="o/calc")
    assert isinstance(first, Rejected)
    assert (first.file, first.field, first.reason) == (latin, "patch", "it changes lines that are not UTF-8")
    assert isinstance(second, Issue)
    assert second.source.file == made["flaky"]


def test_the_name_comes_from_the_remote(tmp_path):
    calculator(tmp_path / "calc")
    assert source.repository_name(tmp_path / "calc") == "calc"
    for address, name in (
        ("https://github.com/tkem/cachetools.git", "tkem/cachetools"),
        ("git@github.com:mahmoud/boltons", "mahmoud/boltons"),
        ("ssh://git@host:22/a/b.c.git", "a/b.c"),
    ):
        git(tmp_path / "calc", "config", "remote.origin.url", address)
        assert source.repository_name(tmp_path / "calc") == name


@pytest.mark.parametrize(
    ("message", "speaks", "numbers"),
    [
        ("Fix #12: wrong sign", True, ["12"]),
        ("closes owner/name#3, fixes #4", True, ["3", "4"]),
        ("Resolved: issue #9", True, ["9"]),
        ("Merge pull request #100 from somebody", True, ["100"]),
        ("see gh-77", True, ["77"]),
        ("handle empty input", True, []),
        ("Release v7.0.6.", False, []),
        ("prefix the suffix", False, []),
        ("bump version", False, []),
    ],
)
def test_messages(message, speaks, numbers):
    assert (source.speaks_of_a_fix(message), source.issue_numbers(message)) == (speaks, numbers)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/x.py", True),
        ("a/testing/data.txt", True),
        ("test_a.py", True),
        ("a/b_test.py", True),
        ("a/conftest.py", True),
        ("latest.py", False),
        ("contest.py", False),
        ("protests/x.py", False),
        ("a/test_a.txt", False),
    ],
)
def test_tests_are_told_by_whole_names(path, expected):
    assert is_test(path) is expected


def benchmark(tmp_path, text):
    (tmp_path / "benchmark.yaml").write_text(f"id: calc\nsource: git\n{text}")
    return read_benchmark(tmp_path / "benchmark.yaml")


def test_a_benchmark_of_a_clone_is_versioned_by_its_commit(tmp_path):
    made = calculator(tmp_path / "clone")
    described = benchmark(tmp_path, "path: clone\noptions: {repo: o/calc, limit: 2}\n")
    issues, rejected = load_issues(described)
    assert sorted(issue.source.file for issue in issues) == sorted([made["flaky"], made["no proof"]])
    assert rejected == []
    version = described.content_hash()
    (tmp_path / "clone" / ".git" / "description").write_text("touched")
    assert described.content_hash() == version
    older = benchmark(tmp_path, f"path: clone\noptions: {{repo: o/calc, limit: 2, revision: {made['fix']}}}\n")
    assert older.content_hash() != version
    assert [issue.source.file for issue in load_issues(older)[0]] == [made["fix"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path: .\n", r"path: .* is no git repository"),
        ("path: clone\noptions: {revision: nothing}\n", r"path: .*clone: git: "),
        ("path: clone\noptions: {repo: calc}\n", r"options\.repo: owner/name is expected, not 'calc'"),
        ("path: clone\noptions: {clones: x}\n", r"options\.clones: unknown to the source git"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    calculator(tmp_path / "clone")
    with pytest.raises(BenchmarkError, match=message):
        load_issues(benchmark(tmp_path, text))
