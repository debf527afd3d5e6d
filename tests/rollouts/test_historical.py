"""Old runs as attempts: which issue each is at, what judges it, and what is left out."""

import json

import pytest

from rllm_assets.data.answers import answer_format
from rllm_assets.data.benchmarks import Benchmark, BenchmarkError, Runs
from rllm_assets.data.issues import Case, FunctionTask, Issue, RepositoryTask, Source, unified_diff
from rllm_assets.data.trajectories import Attempt
from rllm_assets.data.verdicts import Verdict
from rllm_assets.rollouts.historical import historical_attempts
from tests.data.readers.samples import (
    chat_row,
    mini_11,
    read_one,
    sweagent_0,
    sweagent_1,
    v0_row,
    v1_row,
    write,
    write_lines,
)

BUGGY, FIXED = "def half(x):\n    return x // 2\n", "def half(x):\n    return x / 2\n"
PATCH = unified_diff(BUGGY, FIXED, "money.py")
ANSWER = f"```python\n{FIXED}```"


def an_issue(name, task=None):
    task = task or FunctionTask(
        module="money", entry_point="half", buggy_code=BUGGY, fixed_code=FIXED, cases=(Case(args=[1], returns=0.5),)
    )
    source = Source(benchmark="b", kind="k", file="f")
    return Issue(instance_id=name, repo="r", problem_statement="half(1) is 0", task=task, source=source)


class Recorded:
    """A verifier that keeps the candidates; the fixed code and its patch resolve, `broken` gives no verdict."""

    def __init__(self, failing=()):
        self.candidates, self.failing = [], failing

    def verify_many(self, jobs):
        self.candidates += [(issue.instance_id, candidate) for issue, candidate in jobs]
        return [self.verdict(issue, candidate) for issue, candidate in jobs]

    def verdict(self, issue, candidate):
        if issue.instance_id in self.failing:
            return Verdict(status="no_verdict", reason="the sandbox broke")
        return Verdict(status="resolved" if candidate in (FIXED, PATCH) else "failed")

    def run_commands(self, commands, seconds):
        raise AssertionError


def imported(tmp_path, *names, reports=None, failing=(), issue_task=None, **options):
    runs = Runs(path="runs", reports="reports.json" if reports else "")
    if reports:
        write(tmp_path / "reports.json", reports)
    benchmark = Benchmark(id="b", source="functions", path="x", runs=runs, directory=tmp_path)
    verifier = Recorded(failing)
    issues = [an_issue(name, issue_task) for name in names]
    return historical_attempts(benchmark, issues, verifier, **options), verifier


def chat(name, answer, **more):
    said = [{"role": "user", "content": "Fix half."}, {"role": "assistant", "content": answer}]
    return {"instance_id": name, "messages": said, **more}


def test_a_run_is_judged_by_its_patch(tmp_path):
    row = {**sweagent_0(), "info": {**sweagent_0()["info"], "submission": PATCH}}
    write(tmp_path / "runs" / "one.traj", row)
    found, verifier = imported(tmp_path, "one", count_tokens=len)
    (attempt,) = found.attempts["one"]
    assert verifier.candidates == [("one", FIXED)]
    assert (attempt.kind, attempt.verdict_source, attempt.verdict.status, attempt.reward) == (
        "historical",
        "verifier",
        "resolved",
        1.0,
    )
    assert attempt.origin == "swe-agent 0.x one.traj"
    assert attempt.candidate == FIXED
    # Everything that was said is there, in its order; a demonstration was given, and is nothing to learn from.
    assert [m["content"] for m in attempt.messages] == [m["content"] for m in row["history"]]
    demos = [m for m in row["history"] if m.get("is_demo")]
    assert len(demos) > 0
    assert all(m["role"] != "assistant" or m["content"] in [d["content"] for d in demos] for m in attempt.prompt)
    assert attempt.response_tokens == sum(len(m["content"]) for m in attempt.turns if m["role"] == "assistant")
    assert Attempt.from_row(attempt.to_row()) == attempt


@pytest.mark.parametrize(
    ("patch", "candidate"),
    [
        (unified_diff(BUGGY, FIXED, "main.py"), FIXED),
        (unified_diff(BUGGY, FIXED, "main.py") + "--- /dev/null\n+++ b/try.py\n@@ -0,0 +1 @@\n+half(1)\n", FIXED),
        (unified_diff(BUGGY, FIXED, "money.py") + unified_diff("a\n", "b\n", "setup.py"), FIXED),
        (unified_diff(BUGGY, FIXED, "main.py") + unified_diff("a\n", "b\n", "setup.py"), None),
        (unified_diff(FIXED, BUGGY, "main.py"), None),
        (unified_diff(BUGGY, "", "main.py").replace("b/main.py", "/dev/null"), None),
        ("no diff", None),
    ],
)
def test_the_file_of_a_function_may_have_had_another_name(tmp_path, patch, candidate):
    write(tmp_path / "runs" / "one.traj", {**sweagent_0(), "info": {"submission": patch}})
    found, verifier = imported(tmp_path, "one")
    assert verifier.candidates == [("one", candidate)]
    (attempt,) = found.attempts["one"]
    assert attempt.verdict.resolved == (candidate == FIXED)
    assert bool(attempt.verdict.reason) == (candidate is None)


def test_the_patch_of_a_repository_is_judged_as_it_is(tmp_path):
    write(tmp_path / "runs" / "one.traj", {**sweagent_0(), "info": {"submission": PATCH}})
    found, verifier = imported(tmp_path, "one", issue_task=RepositoryTask(files={"money.py": BUGGY}))
    assert verifier.candidates == [("one", PATCH)]
    assert found.attempts["one"][0].verdict.resolved


def test_a_chat_is_judged_by_its_last_answer(tmp_path):
    write_lines(tmp_path / "runs" / "chats.jsonl", [chat("one", ANSWER), chat("two", "```python\nx\n```")])
    found, verifier = imported(tmp_path, "one", "two")
    assert verifier.candidates == [("one", FIXED), ("two", "x\n")]
    one, two = found.attempts["one"][0], found.attempts["two"][0]
    assert (one.response, one.turns, one.candidate, one.finished) == (ANSWER, [], "", True)
    assert (two.verdict.status, two.verdict_source, two.reward) == ("failed", "verifier", 0.0)
    assert one.origin == "chat messages chats.jsonl:1"
    assert one.prompt == [{"role": "user", "content": "Fix half."}]


def test_a_run_without_a_patch_has_failed_and_one_that_says_nothing_is_believed(tmp_path):
    runs = tmp_path / "runs"
    mini = write(runs / "mini.traj.json", {**mini_11(), "info": {**mini_11()["info"], "submission": ""}})
    one = read_one(mini).instance_id
    write_lines(runs / "chats.jsonl", [chat("two", "Done.", resolved=True), chat("three", "Done.", resolved=False)])
    write_lines(runs / "more.jsonl", [chat("four", "Done.")])
    found, verifier = imported(tmp_path, one, "two", "three", "four")
    assert verifier.candidates == [(one, None)]
    said = {name: (a.verdict.status, a.verdict_source, a.reward) for name, (a,) in found.attempts.items()}
    assert said == {
        one: ("failed", "verifier", 0.0),
        "two": ("resolved", "report", 1.0),
        "three": ("failed", "report", 0.0),
        "four": ("no_verdict", "none", None),
    }
    assert found.attempts[one][0].verdict.reason == "the run submitted no patch"
    assert found.attempts["two"][0].verdict.reason == (
        "as its report says; not judged here: the run left neither a patch nor an answer"
    )


def test_a_report_is_believed_where_the_sandbox_fails_and_overruled_where_it_does_not(tmp_path):
    write_lines(tmp_path / "runs" / "chats.jsonl", [chat(name, "```python\nx\n```") for name in ("one", "two", "six")])
    found, _ = imported(tmp_path, "one", "two", "six", reports={"resolved_ids": ["one", "two"]}, failing=("one", "six"))
    said = {name: (a.verdict.status, a.verdict_source) for name, (a,) in found.attempts.items()}
    assert said == {"one": ("resolved", "report"), "two": ("failed", "verifier"), "six": ("no_verdict", "none")}


def test_what_is_no_attempt_is_left_out_with_its_reason(tmp_path):
    runs = tmp_path / "runs"
    silent = {"info": {}, "messages": [{"role": "user", "content": "Fix."}], "trajectory_format": "mini-swe-agent-1.1"}
    write(runs / "one.traj.json", silent)
    write(runs / "report.json", {"resolved_ids": ["one"]})
    rows = [chat("one", ANSWER), chat("one", ANSWER), chat("two", ANSWER), chat("other", ANSWER)]
    (runs / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"messages": [')
    unnamed = chat("", ANSWER)
    write_lines(runs / "unnamed.jsonl", [unnamed, unnamed])
    found, _ = imported(tmp_path, "one", "two", held_out={"two"})
    assert found.attempts.keys() == {"one"}
    assert sorted((row.category, row.file, row.line) for row in found.left_out) == [
        ("duplicate", "rows.jsonl", 2),
        ("held_out", "rows.jsonl", 3),
        ("no_answer", "one.traj.json", None),
        ("no_issue", "unnamed.jsonl", 1),
        ("no_issue", "unnamed.jsonl", 2),
        ("other", "report.json", None),
        ("unknown_issue", "rows.jsonl", 4),
        ("unreadable", "rows.jsonl", 5),
    ]


def test_secrets_are_replaced(tmp_path):
    key = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0" * 2
    write_lines(tmp_path / "runs" / "r.jsonl", [chat("one", f"I use {key}")])
    found, _ = imported(tmp_path, "one")
    assert found.attempts["one"][0].response == "I use [REDACTED:api_key]"


@pytest.mark.parametrize(
    "row", [sweagent_0(), sweagent_1(), mini_11(), v0_row(), v1_row(), chat_row()], ids=lambda row: sorted(row)[0]
)
def test_runs_of_every_format_become_episodes(tmp_path, row):
    name = read_one(write(tmp_path / "runs" / "one.json", {**row, "instance_id": "one"})).instance_id
    found, _ = imported(tmp_path, name)
    (attempt,) = found.attempts[name]
    (trajectory,) = attempt.to_episode().trajectories
    answers = [m for m in attempt.messages[len(attempt.prompt) :] if m["role"] == "assistant"]
    assert len(trajectory.steps) == len(answers) > 0
    assert trajectory.steps[-1].chat_completions[-1] == answers[-1]


def test_reports_that_disagree_are_an_error_of_the_benchmark(tmp_path):
    write_lines(tmp_path / "runs" / "r.jsonl", [chat("one", ANSWER)])
    with pytest.raises(BenchmarkError, match=r"b: runs\.reports: .*no report says"):
        imported(tmp_path, "one", reports={"resolved_ids": []})


def test_a_benchmark_without_runs_has_none():
    benchmark = Benchmark(id="b", source="functions", path="x", directory=".")
    assert historical_attempts(benchmark, [an_issue("one")], Recorded()).count == 0
    assert answer_format("function").extract(an_issue("one"), ANSWER) == FIXED
