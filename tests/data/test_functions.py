"""Our own layout of issues, and what becomes of files with mistakes."""

import textwrap

import pytest

from rllm_assets.data.benchmarks import BUNDLED, find_benchmark
from rllm_assets.data.issues import Issue, Rejected
from rllm_assets.data.sources import functions, load_issues

GOOD = """
functions:
  - name: double
    code: |
      def double(x):
          return x * 2
    cases:
      - {args: [2], returns: 4}
      - {args: [null], raises: TypeError}
    issues:
      - number: 7
        opened: 2024-05-01
        kind: wrong operator
        title: double adds
        body: double(3) gives 5, I expected 6.
        bug:
          - {was: "x + 2", now: "x * 2"}
"""


def read(tmp_path, text):
    (tmp_path / "m.yaml").write_text(textwrap.dedent(text))
    return list(functions.read(tmp_path, "mine"))


def test_an_issue_has_everything(tmp_path):
    (issue,) = read(tmp_path, GOOD)
    assert isinstance(issue, Issue)
    assert issue.instance_id == "mine-7"
    assert issue.problem_statement == "double adds\n\ndouble(3) gives 5, I expected 6."
    assert issue.created_at == "2024-05-01"
    assert issue.group == "mine/m.double"
    assert issue.labels == ["wrong operator"]
    assert issue.task.kind == "function"
    assert issue.task.buggy_code == "def double(x):\n    return x + 2\n"
    assert issue.task.fixed_code == "def double(x):\n    return x * 2\n"
    assert [(c.args, c.returns, c.raises) for c in issue.task.cases] == [([2], 4, None), ([None], None, "TypeError")]
    assert issue.patch.splitlines()[-2:] == ["-    return x + 2", "+    return x * 2"]


@pytest.mark.parametrize(
    ("old", "new", "field", "reason"),
    [
        ("returns: 4}", "returns: 4, raises: E}", "functions.0.cases.0", "give either returns or raises"),
        ("{args: [2], returns: 4}", "{args: [2]}", "functions.0.cases.0", "give either returns or raises"),
        ("{args: [2], returns: 4}", "{args: 2, returns: 4}", "functions.0.cases.0.args", "valid list"),
        ("returns: 4}", "returns: 2024-01-01}", "functions.0.cases", "type date has no JSON form"),
        ("name: double", "title: double", "functions.0.name", "Field required"),
        ("number: 7", "number: seven", "functions.0.issues.0.number", "valid integer"),
        ("opened: 2024-05-01", "opened: someday", "functions.0.issues.0.opened", "date"),
        ("kind: wrong operator", "sort: wrong operator", "functions.0.issues.0.kind", "Field required"),
        ('now: "x * 2"', 'now: "x / 2"', "functions.0.issues.0.bug", "stands 0 times in the code of double"),
        ('now: "x * 2"', 'now: "x"', "functions.0.issues.0.bug", "stands 2 times in the code of double"),
        ("functions:", "function:", "functions", "a list of functions is expected"),
        ("opened: 2024-05-01", "opened: 2024-13-01", "", "not readable as YAML: month must be in 1..12"),
        ("- name: double", "- name: [", "", "not readable as YAML"),
    ],
)
def test_a_mistake_is_named_with_file_and_field(tmp_path, old, new, field, reason):
    assert old in GOOD
    (rejected,) = read(tmp_path, GOOD.replace(old, new, 1))
    assert isinstance(rejected, Rejected)
    assert (rejected.file, rejected.field) == ("m.yaml", field)
    assert reason in rejected.reason


def test_one_bad_function_does_not_lose_the_others(tmp_path):
    (tmp_path / "a.yaml").write_text("functions: [3, {name: f}]")
    found = read(tmp_path, GOOD)
    assert [type(row).__name__ for row in found] == ["Rejected", "Rejected", "Issue"]


def test_issues_that_are_no_list_do_not_lose_the_others(tmp_path):
    function = "{name: f, code: c, cases: [{args: [], returns: 1}], issues: %s}"
    (tmp_path / "a.yaml").write_text(
        f"functions: [{', '.join(function % issues for issues in ('5', 'null', '{a: b}'))}]"
    )
    found = read(tmp_path, GOOD)
    assert [(row.field, row.reason) for row in found if isinstance(row, Rejected)] == [
        ("functions.0.issues", "a list of issues is expected"),
        ("functions.2.issues", "a list of issues is expected"),
    ]
    assert [row.instance_id for row in found if isinstance(row, Issue)] == ["mine-7"]


def test_pocket_is_what_it_says():
    issues, rejected = load_issues(find_benchmark("pocket", BUNDLED / "none"))
    assert rejected == []
    assert len(issues) >= 300
    assert len({issue.group for issue in issues}) >= 60
    assert len({issue.task.module for issue in issues if issue.task.kind == "function"}) == 8
    assert len({issue.content_hash for issue in issues}) == len(issues)
    kinds = {label for issue in issues for label in issue.labels}
    assert kinds == {
        "boundary",
        "early return",
        "missed edge case",
        "mutable default",
        "type confusion",
        "wrong operator",
        "wrong order",
        "wrong variable",
    }
    for issue in issues:
        assert issue.task.kind == "function"
        assert len(issue.task.cases) >= 6
        assert issue.created_at >= "2021"
        assert issue.task.buggy_code != issue.task.fixed_code
