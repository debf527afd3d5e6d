"""benchmark.yaml: what is accepted, and one clear message for each mistake."""

import pytest

from rllm_assets.data.benchmarks import Benchmark, BenchmarkError, discover, find_benchmark, read_benchmark
from rllm_assets.data.sources import load_issues

MODULE = """
functions:
  - name: one
    code: |
      def one():
          return 1
    cases: [{args: [], returns: 1}]
    issues:
      - {number: 1, opened: 2024-01-01, kind: k, title: t, body: b, bug: [{was: "2", now: "1"}]}
      - {number: 2, opened: 2024-01-02, kind: k, title: u, body: c, bug: [{was: "3", now: "1"}]}
"""
GOOD = {"id": "mine", "source": "functions", "path": "issues", "config": {"training": {"max_steps": 2}}}


def write(directory, name="mine", text=None, **changes):
    import yaml

    folder = directory / name
    (folder / "issues").mkdir(parents=True, exist_ok=True)
    (folder / "issues" / "m.yaml").write_text(MODULE)
    path = folder / "benchmark.yaml"
    path.write_text(text if text is not None else yaml.safe_dump({**GOOD, **changes}))
    return path


def test_a_good_one_is_read(tmp_path):
    benchmark = read_benchmark(write(tmp_path))
    assert (benchmark.id, benchmark.source, benchmark.answer_format) == ("mine", "functions", "function")
    assert benchmark.resolve().config.training.max_steps == 2
    assert [issue.instance_id for issue in load_issues(benchmark)[0]] == ["mine-1", "mine-2"]


def test_issues_of_repositories_are_answered_by_edits_unless_told_otherwise(tmp_path):
    rows = {"source": "swebench", "config": {}}
    assert read_benchmark(write(tmp_path, **rows)).answer_format == "search_replace"
    assert read_benchmark(write(tmp_path, **rows, answer_format="diff")).answer_format == "diff"
    with pytest.raises(
        BenchmarkError, match=r"answer_format: function answers with one function, .* use search_replace"
    ):
        read_benchmark(write(tmp_path, **rows, answer_format="function"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "Mine"}, "id: String should match pattern"),
        ({"id": "a,b"}, "use lower-case letters, digits, - and _"),
        ({"id": "a/b"}, "use lower-case letters"),
        ({"source": "jira"}, "source: unknown 'jira'; known are functions"),
        ({"answer_format": "essay"}, "answer_format: unknown 'essay'; known are function"),
        ({"preset": "huge"}, "preset: unknown 'huge'; known are smollm2"),
        ({"path": "nowhere"}, "nowhere does not exist"),
        ({"pathh": "x"}, "pathh: unknown field; did you mean path?"),
        ({"config": {"training": {"sed": 1}}}, "unknown key training.sed; did you mean training.seed?"),
        ({"config": {"training": {"max_steps": 0}}}, "training.max_steps: Input should be greater than 0, not 0"),
        ({"config": [1]}, "config: Input should be a valid dictionary"),
        ({"runs": {"path": "old"}}, "runs.path: "),
        ({"runs": {"path": "issues", "reports": "r.json"}}, "r.json does not exist"),
        ({"runs": {"path": "issues", "report": "r.json"}}, "runs.report: unknown field; did you mean runs.reports?"),
        ({"runs": {"reports": "issues"}}, "runs.path: Field required"),
        ({"runs": "issues"}, "runs: Input should be a valid dictionary"),
    ],
)
def test_a_mistake_is_named_with_file_and_field(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(BenchmarkError) as caught:
        read_benchmark(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: [", "not readable as YAML"),
        ("", "a mapping is expected"),
        ("- a\n- b", "a mapping is expected"),
        ("id: x", "source: Field required"),
    ],
)
def test_a_malformed_file_is_named(tmp_path, text, message):
    with pytest.raises(BenchmarkError, match=message):
        read_benchmark(write(tmp_path, text=text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BenchmarkError, match="no such file"):
        read_benchmark(tmp_path / "benchmark.yaml")


def test_an_invalid_one_does_not_block_the_others(tmp_path):
    write(tmp_path, "good")
    write(tmp_path, "bad", id="B A D")
    write(tmp_path, "same")
    found = list(discover(tmp_path))
    assert [item.id for item in found if isinstance(item, Benchmark)] == ["pocket", "mine"]
    errors = [str(item) for item in found if isinstance(item, BenchmarkError)]
    assert len(errors) == 2
    assert "bad/benchmark.yaml: id" in errors[0]
    assert "id: 'mine' is taken by" in errors[1]


def test_a_copy_does_not_take_an_id_over(tmp_path):
    own, copy = write(tmp_path, "mine"), write(tmp_path, "a_copy")
    bundled = write(tmp_path, "pocket", id="pocket")
    found = list(discover(tmp_path))
    taken = {item.id: item.directory for item in found if isinstance(item, Benchmark)}
    assert taken["mine"] == own.parent
    assert taken["pocket"] != bundled.parent
    errors = [str(item) for item in found if isinstance(item, BenchmarkError)]
    assert errors[0] == f"{copy}: id: 'mine' is taken by {own}; choose another"
    assert errors[1].startswith(f"{bundled}: id: 'pocket' is taken by")


def test_one_that_cannot_be_read_is_not_called_unknown(tmp_path):
    path = write(tmp_path, text="id: [mine")
    with pytest.raises(BenchmarkError, match=f"^{path}: not readable as YAML"):
        find_benchmark("mine", tmp_path)


def test_an_unknown_id_lists_the_known_and_the_broken(tmp_path):
    write(tmp_path, "good")
    write(tmp_path, "bad", id="B A D")
    with pytest.raises(BenchmarkError) as caught:
        find_benchmark("other", tmp_path)
    assert "unknown benchmark 'other'" in str(caught.value)
    assert "pocket, mine" in str(caught.value)
    assert "not readable: " in str(caught.value)


def test_the_content_hash_follows_the_content(tmp_path):
    benchmark = read_benchmark(write(tmp_path))
    before = benchmark.content_hash()
    assert read_benchmark(write(tmp_path)).content_hash() == before
    (tmp_path / "mine" / "issues" / "m.yaml").write_text(MODULE.replace("title: t", "title: other"))
    assert benchmark.content_hash() != before
    assert read_benchmark(write(tmp_path, description="new")).content_hash() != before


def test_the_hash_does_not_depend_on_the_place(tmp_path):
    hashes = {read_benchmark(write(tmp_path / place)).content_hash() for place in ("a", "b")}
    assert len(hashes) == 1


def test_a_limit_keeps_the_first_issues(tmp_path):
    benchmark = read_benchmark(write(tmp_path, options={"limit": 1}))
    assert [issue.instance_id for issue in load_issues(benchmark)[0]] == ["mine-1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limt": 1}, "options.limt: unknown to the source functions; did you mean limit?"),
        ({"shuffle": True}, "options.shuffle: unknown to the source functions; known are limit"),
        ({"limit": "5"}, "options.limit: a number of issues, 1 or more, is expected, not '5'"),
        ({"limit": 0}, "options.limit: a number of issues, 1 or more, is expected, not 0"),
        ({"limit": -1}, "options.limit: a number of issues, 1 or more, is expected, not -1"),
        ({"limit": True}, "options.limit: a number of issues, 1 or more, is expected, not True"),
        ({"limit": None}, "options.limit: a number of issues, 1 or more, is expected, not None"),
    ],
)
def test_a_wrong_option_is_named_with_its_file(tmp_path, options, message):
    path = write(tmp_path, options=options)
    with pytest.raises(BenchmarkError) as caught:
        load_issues(read_benchmark(path))
    assert str(caught.value) == f"{path}: {message}"


def test_a_file_of_issues_that_is_a_directory_is_named(tmp_path):
    path = write(tmp_path, source="issues")
    with pytest.raises(BenchmarkError) as caught:
        load_issues(read_benchmark(path))
    issues = tmp_path / "mine" / "issues"
    assert str(caught.value).startswith(f"{path}: path: {issues} is no file; the source issues reads one file")


def test_a_broken_parquet_file_is_named(tmp_path):
    path = write(tmp_path, source="issues", path="issues.parquet")
    broken = tmp_path / "mine" / "issues.parquet"
    broken.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BenchmarkError, match=f"mine: {broken} cannot be read: .*Parquet") as caught:
        load_issues(read_benchmark(path))
    assert "\n" not in str(caught.value)


def test_a_duplicate_id_is_rejected(tmp_path):
    benchmark = read_benchmark(write(tmp_path))
    (tmp_path / "mine" / "issues" / "n.yaml").write_text(MODULE)
    issues, rejected = load_issues(benchmark)
    assert len(issues) == 2
    assert [row.reason for row in rejected] == [f"'mine-{n}' came before, in m.yaml" for n in (1, 2)]


def test_nothing_readable_is_an_error(tmp_path):
    benchmark = read_benchmark(write(tmp_path))
    (tmp_path / "mine" / "issues" / "m.yaml").write_text("functions: 3")
    with pytest.raises(BenchmarkError, match=r"no issue could be read from .*m.yaml: functions: a list"):
        load_issues(benchmark)


def test_old_runs_are_part_of_the_content_and_not_of_what_the_issues_come_from(tmp_path):
    runs = tmp_path / "mine" / "runs"
    runs.mkdir(parents=True)
    (runs / "one.traj").write_text("{}")
    benchmark = read_benchmark(write(tmp_path, runs={"path": "runs", "reports": "runs/one.traj"}))
    before, issues = benchmark.content_hash(), benchmark.issues_hash()
    assert benchmark.runs_path == runs
    (runs / "two.traj").write_text("{}")
    after = benchmark.content_hash()
    assert after != before
    (runs / "one.traj").write_text("[]")
    assert benchmark.content_hash() not in (before, after)
    assert benchmark.issues_hash() == issues
    assert benchmark.content_hash() == read_benchmark(benchmark.directory / "benchmark.yaml").content_hash()
