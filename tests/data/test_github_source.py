"""The source `github`: what becomes of merged pull requests, what is asked for, and what is kept."""

import logging
import re

import pytest

from rllm_assets.data.benchmarks import read_benchmark
from rllm_assets.data.issues import RepositoryTask
from rllm_assets.data.sources import load_issues
from tests.data.fake_github import TOKEN
from tests.data.github_history import REPO, kept, make_history, read
from tests.data.repositories import commit


def test_merged_pull_requests_become_the_issues_they_closed(github, history):
    issues, rejected = read(github, history.clone)
    assert [issue.instance_id for issue in issues] == ["o__calc-10", "o__calc-11", "o__calc-12"]
    one, two, three = issues
    assert one.problem_statement == "one is wrong\nIt returns 0.\nIt should not."
    assert one.hints_text == "I see it too.\nTry `1 + 0`."
    assert (one.repo, one.created_at, one.labels) == (REPO, "2024-01-05T10:00:00Z", ["bug", "#1"])
    assert (one.task, one.FAIL_TO_PASS, one.PASS_TO_PASS, one.version) == (RepositoryTask(), [], [], "")
    assert re.sub(r"index .*\n", "", one.patch) == (
        "diff --git a/NEWS b/NEWS\n--- a/NEWS\n+++ b/NEWS\n@@ -1 +1 @@\n--\n+one\n"
        "diff --git a/calc/one.py b/calc/one.py\n--- a/calc/one.py\n+++ b/calc/one.py\n"
        "@@ -1,2 +1,2 @@\n def one():\n-    return 0\n+    return 1\n"
    )
    assert one.test_patch.startswith("diff --git a/tests/test_one.py b/tests/test_one.py\nnew file mode 100644\n")
    assert one.source.model_dump() == {
        "benchmark": "bench",
        "kind": "github",
        "file": "o/calc/pull/10",
        "line": None,
        "repository": str(history.clone.resolve()),
    }
    assert (two.problem_statement, two.hints_text, two.labels) == ("two is wrong", "", ["#2"])
    assert three.labels == ["bug", "help wanted", "#3"]
    assert [(row.file, row.field, row.category, row.reason) for row in rejected] == [
        (
            "o/calc/pull/13",
            "test_patch",
            "no_failing_test",
            "it changes no test module, which could tell the fix from the bug",
        )
    ]


def test_the_base_is_what_the_merge_stood_on_however_it_was_merged(github, history):
    squashed, merged, rebased = read(github, history.clone)[0]
    assert squashed.base_commit == history["start"]
    assert merged.base_commit == history["one"]
    # Two commits became two: the first parent of the last is not what the fix stood on.
    assert rebased.base_commit == history["two"]
    assert "calc/three.py" in rebased.patch
    assert "tests/test_three.py" in rebased.test_patch


def test_without_a_token_keywords_and_rest_find_the_same(github, history, cache, monkeypatch, caplog):
    with_token = read(github, history.clone)
    kept(cache, "pull_requests.jsonl").unlink()
    monkeypatch.delenv("GITHUB_TOKEN")
    github.requests.clear()
    assert read(github, history.clone) == with_token
    assert github.asked("graphql") == []
    assert {request.headers.get("authorization") for request in github.requests} == {None}
    assert caplog.messages == [
        "o/calc is read without a token: issues are linked by keywords only, and GitHub grants 60 requests an hour"
    ]


@pytest.mark.parametrize("fault", ["no graphql", "no links"])
def test_a_server_that_knows_no_links_is_read_by_keywords(github, history, caplog, fault):
    if fault == "no graphql":
        github.fault("graphql", 404, {"message": "Not Found"})
    else:
        github.unknown_fields = {"closingIssuesReferences"}
    issues, _ = read(github, history.clone)
    assert [issue.instance_id for issue in issues] == ["o__calc-10", "o__calc-11", "o__calc-12"]
    assert len(github.asked("graphql")) == 1
    assert caplog.messages[0].endswith("; issues are linked by keywords only")


def test_a_github_enterprise_server_has_its_own_addresses(github, history):
    issues, _ = read(github, history.clone, api=f"{github.address}/api/v3/")
    assert len(issues) == 3
    assert {path.partition("?")[0] for path in github.asked()} == {"/api/v3/repos/o/calc/issues", "/api/graphql"}


def test_the_way_of_asking_is_githubs(github, history):
    read(github, history.clone)
    listing, query, *_ = github.requests
    assert listing.path == "/repos/o/calc/issues?state=closed&sort=updated&direction=asc&per_page=100"
    assert listing.headers["accept"] == query.headers["accept"] == "application/vnd.github+json"
    assert listing.headers["x-github-api-version"] == "2022-11-28"
    assert listing.headers["user-agent"] == "rllm_assets"
    assert listing.headers["authorization"] == query.headers["authorization"] == f"Bearer {TOKEN}"
    assert query.numbers == [10, 11, 12, 13, 14]


def test_a_rerun_asks_once_whether_anything_changed(github, history):
    first = read(github, history.clone)
    github.requests.clear()
    assert read(github, history.clone) == first
    assert [(request.method, request.status) for request in github.requests] == [("GET", 304)]


def test_a_rerun_reads_what_is_new_and_keeps_what_it_read(github, history, tmp_path, cache):
    clone = make_history(tmp_path / "growing").clone
    before, _ = read(github, clone)
    # Merged at GitHub, not yet here.
    fix = {"calc/six.py": "six = 6\n", "tests/test_six.py": "def test_six():\n    pass\n"}
    github.issue(REPO, 5, "six is missing", updated_at="2024-04-01T12:00:01Z")
    pull = github.pull(
        REPO,
        16,
        "Six",
        "Fixes #5",
        closes=[5],
        merged_at="2024-04-01T12:00:01Z",
        merge_commit_sha="e" * 40,
        base="b" * 40,
    )
    github.requests.clear()
    assert read(github, clone)[0] == before
    assert github.asked("graphql") == []
    pull["merge_commit_sha"] = commit(clone, "Six (#16)", fix, when="2024-04-01T12:00:00+00:00")
    # Whoever edits an old issue does not change the benchmark.
    github.issues[REPO, 1]["title"] = "edited"
    github.touch(REPO, 10, "2024-05-01T00:00:00Z")
    after, _ = read(github, clone)
    assert after[:-1] == before
    assert (after[-1].instance_id, after[-1].problem_statement) == ("o__calc-16", "six is missing")
    assert [request.numbers for request in github.requests if request.method == "POST"] == [[16]]


def test_an_issue_that_is_closed_later_is_found_then(github, history):
    github.issues[REPO, 2]["state"] = "open"
    assert [issue.instance_id for issue in read(github, history.clone)[0]] == ["o__calc-10", "o__calc-12"]
    github.issues[REPO, 2]["state"] = "closed"
    github.touch(REPO, 2, "2024-05-02T00:00:00Z")
    github.requests.clear()
    assert [issue.instance_id for issue in read(github, history.clone)[0]] == ["o__calc-10", "o__calc-11", "o__calc-12"]
    assert [request.numbers for request in github.requests if request.method == "POST"] == [[11]]


def test_an_issue_that_is_linked_later_is_found_then(github, history):
    assert len(read(github, history.clone)[0]) == 3
    github.links[REPO, 14] = [(REPO, 4)]
    github.touch(REPO, 14, "2024-05-02T00:00:00Z")
    assert read(github, history.clone)[0][-1].instance_id == "o__calc-14"


def test_what_closes_no_issue_can_be_asked_for(github, history):
    issues, _ = read(github, history.clone, without_issue=True)
    assert [issue.instance_id for issue in issues][-1] == "o__calc-14"
    assert issues[-1].problem_statement == "Five\n<!-- Fixes #1 --> Prettier than #1"
    assert (issues[-1].created_at, issues[-1].labels) == ("2024-01-01T00:00:00Z", [])


def test_several_issues_and_those_of_another_repository(github, history):
    github.issue("o/tracker", 7, "From afar", "Far.", labels=["bug"], created_at="2023-12-01T00:00:00Z")
    github.comment("o/tracker", 7, "A hint.", "2023-12-02T00:00:00Z")
    github.links[REPO, 10] = [(REPO, 1), ("o/tracker", 7)]
    one = read(github, history.clone)[0][0]
    assert one.problem_statement == "one is wrong\nIt returns 0.\nIt should not.\n\nFrom afar\nFar."
    assert one.hints_text == "I see it too.\nTry `1 + 0`.\nA hint."
    assert one.labels == ["bug", "#1", "o/tracker#7"]
    assert one.created_at == "2023-12-01T00:00:00Z"


def test_long_lists_of_issues_comments_and_commits_are_read_to_their_end(github, history):
    for number in range(100, 125):
        github.issue(REPO, number, f"issue {number}")
    github.links[REPO, 10] = [(REPO, number) for number in (1, *range(100, 125))]
    for second in range(120):
        github.comment(REPO, 100, f"comment {second}", f"2024-01-03T00:{second // 60:02}:{second % 60:02}Z")
    many = [(f"2024-01-15T00:{n // 60:02}:{n % 60:02}Z", f"commit {n}") for n in range(130, 0, -1)]
    github.commits[REPO, 10] = [{"commit": {"author": {"date": time}, "message": text}} for time, text in many]
    one = read(github, history.clone)[0][0]
    assert one.labels == ["bug", "#1", *(f"#{number}" for number in range(100, 125))]
    said = one.hints_text.split("\n")
    assert said[2:] == [f"comment {second}" for second in range(120)]


def test_since_and_the_clones_commit_bound_the_span(github, history):
    since, _ = read(github, history.clone, since="2024-02-02T12:00:01Z")
    assert [issue.instance_id for issue in since] == ["o__calc-11", "o__calc-12"]
    assert "since=2024-02-02T12%3A00%3A01Z" in github.asked("issues")[0]
    older, _ = read(github, history.clone, revision=history["two"])
    assert [issue.instance_id for issue in older] == ["o__calc-10", "o__calc-11"]
    # The list began later than what is asked for now, and is read anew.
    assert github.asked("issues")[-1].endswith("per_page=100")


def test_a_limit_asks_for_no_more_than_a_batch(github, history, tmp_path):
    for number in range(200, 260):
        github.pull(REPO, number, "more", merged_at=f"2024-02-06T00:00:{number - 200:02}Z")
    directory = tmp_path / "bench"
    directory.mkdir()
    text = (
        f"id: b\nsource: github\npath: {history.clone}\noptions: {{repo: {REPO}, limit: 2, api: '{github.address}'}}\n"
    )
    (directory / "benchmark.yaml").write_text(text)
    issues, _ = load_issues(read_benchmark(directory / "benchmark.yaml"))
    assert [issue.instance_id for issue in issues] == ["o__calc-10", "o__calc-11"]
    (query,) = [request for request in github.requests if request.method == "POST" and 10 in request.numbers]
    assert len(query.numbers) == 20


def test_the_version_is_the_clones_commit_and_asks_nobody(github, tmp_path):
    history = make_history(tmp_path / "calc")
    path = tmp_path / "benchmark.yaml"
    path.write_text(f"id: b\nsource: github\npath: calc\noptions: {{api: '{github.address}', since: 2024-01-01}}\n")
    benchmark = read_benchmark(path)
    version = benchmark.content_hash()
    assert read_benchmark(path).content_hash() == version
    commit(history.clone, "More", {"NEWS": "more\n"})
    assert benchmark.content_hash() != version
    assert github.requests == []


def test_a_merge_commit_that_is_gone_is_replaced_by_the_diff(github, history):
    github.pulls[REPO, 10]["merge_commit_sha"] = "e" * 40
    github.pulls[REPO, 11].update(merge_commit_sha=None, base={"sha": "f" * 40, "repo": {"full_name": REPO}})
    github.diffs[REPO, 10] = (
        "diff --git a/calc/one.py b/calc/one.py\nindex 1..2 100644\n--- a/calc/one.py\n+++ b/calc/one.py\n"
        "@@ -1,2 +1,2 @@\n def one():\n-    return 0\n+    return 1\n"
        "diff --git a/logo.png b/logo.png\nnew file mode 100644\nindex 0..1\nBinary files /dev/null and b/logo.png differ\n"
        "diff --git a/tests/test_one.py b/tests/test_one.py\nnew file mode 100644\nindex 0..1\n--- /dev/null\n"
        "+++ b/tests/test_one.py\n@@ -0,0 +1 @@\n+x = 1\n"
    )
    issues, rejected = read(github, history.clone)
    assert issues[0].base_commit == history["start"]
    sections = github.diffs[REPO, 10].split("diff --git ")
    assert issues[0].patch == "diff --git " + sections[1]
    assert issues[0].test_patch == "diff --git " + sections[3]
    assert (rejected[0].file, rejected[0].field, rejected[0].category) == (
        "o/calc/pull/11",
        "merge_commit",
        "environment",
    )
    assert rejected[0].reason == f"neither its merge commit (none) nor its base {'f' * 40} is in the clone"
    # It is kept, with its ETag.
    github.requests.clear()
    assert read(github, history.clone)[0] == issues
    assert [(r.path, r.status) for r in github.requests][1:] == [("/repos/o/calc/pulls/10", 304)]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (
            406,
            {"message": "Sorry, the diff exceeded the maximum number of lines (20000)"},
            "406 Sorry, the diff exceeded",
        ),
        (200, b"x" * (10 * 2**20 + 1), "the answer has more than 10 MiB"),
    ],
)
def test_an_absurd_diff_costs_its_pull_request(github, history, status, body, reason):
    github.pulls[REPO, 10]["merge_commit_sha"] = "e" * 40
    github.fault("pulls/10$", status, body)
    issues, rejected = read(github, history.clone)
    assert [issue.instance_id for issue in issues] == ["o__calc-11", "o__calc-12"]
    assert (rejected[0].file, rejected[0].field) == ("o/calc/pull/10", "diff")
    assert reason in rejected[0].reason


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"base": {"sha": "--upload-pack=x", "repo": {"full_name": REPO}}}, "base_commit", "match pattern"),
        ({"merge_commit_sha": "HEAD"}, "merge_commit", "match pattern"),
        ({"created_at": "yesterday"}, "created_at", "Invalid isoformat string"),
        ({"created_at": "2024-01-01T00:00:00"}, "created_at", "a time without its time zone"),
        ({"created_at": "9999-12-31T23:59:59-12:00"}, "created_at", "a time that nobody has seen"),
        ({"title": "half \ud800"}, "title", "half a character, which is no text"),
        ({"title": 3}, "title", "valid string"),
    ],
)
def test_a_wrong_field_is_quarantined_and_the_others_go_on(github, history, monkeypatch, change, field, reason):
    monkeypatch.delenv("GITHUB_TOKEN")
    github.pulls[REPO, 11].update(change)
    for _ in ("read", "kept"):
        issues, rejected = read(github, history.clone)
        assert [issue.instance_id for issue in issues] == ["o__calc-10", "o__calc-12"]
        assert (rejected[0].file, rejected[0].field) == ("o/calc/pull/11", field)
        assert reason in rejected[0].reason


def test_a_wrong_entry_of_the_list_is_quarantined_in_every_run(github, history):
    github.issue(REPO, 90, "odd", updated_at="2024-01-03T00:00:00Z")["number"] = "ninety"
    github.issue(REPO, 91, "odd", updated_at="2024-01-04T00:00:00Z")["number"] = 0
    for _ in ("read", "kept"):
        issues, rejected = read(github, history.clone)
        assert len(issues) == 3
        assert [(row.file, row.reason) for row in rejected[:2]] == [
            ("o/calc", f"{github.address}/repos/o/calc/issues/{number}: number: a number is expected, not {value}")
            for number, value in ((90, "'ninety'"), (91, "0"))
        ]


def test_what_is_shown_only_in_part_is_told_and_asked_for_again(github, history):
    github.hidden = {(REPO, 1), (REPO, 12)}
    issues, rejected = read(github, history.clone)
    assert [issue.instance_id for issue in issues] == ["o__calc-11"]
    assert [(row.file, row.reason) for row in rejected] == [
        ("o/calc/pull/10", "GitHub gives it only in part: Resource not accessible by integration"),
        ("o/calc/pull/12", "GitHub no longer has it: Could not resolve to a PullRequest with the number of 12."),
        ("o/calc/pull/13", "it changes no test module, which could tell the fix from the bug"),
    ]
    github.hidden = set()
    assert [issue.instance_id for issue in read(github, history.clone)[0]] == ["o__calc-10", "o__calc-11", "o__calc-12"]


def test_progress_is_told_where_somebody_listens(github, history, caplog):
    caplog.set_level(logging.INFO, logger="rllm_assets.data")
    read(github, history.clone, revision=history["two"])
    assert [message for message in caplog.messages if message.startswith("o/calc: ")] == [
        "o/calc: 2 pull requests to read, 3 merged after the clone's commit",
        "o/calc: 2 merged pull requests, of which 0 close no issue and are left out",
    ]
