"""The asset `trajectories`: fixes, rollouts and old runs in one table, and what the UI shows of them."""

import pyarrow.parquet as pq
import pytest

from rllm_assets.assets.tried import as_markdown, examples, pass_at, solve_rates
from rllm_assets.automation.sources import observe_benchmark
from rllm_assets.data.benchmarks import find_benchmark
from rllm_assets.data.issues import unified_diff
from rllm_assets.data.tables import attempts_from_table
from rllm_assets.data.trajectories import Attempt
from rllm_assets.data.verdicts import Verdict
from rllm_assets.tracking.lineage import read_lineage
from tests.data.readers.samples import sweagent_0, write, write_lines
from tests.rollouts.fake_endpoint import serving


def fix(number):
    before, after = (f"def add_{number}(x):\n    return x {sign} {number}\n" for sign in "-+")
    return after, unified_diff(before, after, "sums.py")


@pytest.fixture
def graph(make_graph):
    """A benchmark with old runs beside it, its issues verified."""
    made = make_graph(trajectories={"rollouts_per_issue": 2})
    folder = made.benchmarks / "tiny"
    with (folder / "benchmark.yaml").open("a") as file:
        file.write("runs: {path: runs, reports: report.json}\n")
    (folder / "runs").mkdir()
    write(folder / "report.json", {"resolved_ids": ["tiny-1"], "unresolved_ids": ["tiny-2"]})
    assert made.materialize("historical_issues").success
    sides = own(made)
    made.trained = [name for name, side in sides.items() if side == "train"]
    made.held_out = [name for name, side in sides.items() if side != "train"]
    return made


def own(graph):
    from rllm_assets.data.splits import own_sides

    table = pq.read_table(graph.artefacts.path("historical_issues", "tiny") / "issues.parquet")
    config = find_benchmark("tiny", graph.benchmarks).resolve().config.splits
    return dict(zip(table.column("instance_id").to_pylist(), own_sides(table, config), strict=True))


@pytest.mark.slow
def test_three_kinds_stand_in_one_table(graph):
    name, other = graph.trained[:2]
    number = int(name.rpartition("-")[2])
    _, patch = fix(number)
    runs = graph.benchmarks / "tiny" / "runs"
    write(runs / f"{name}.traj", {**sweagent_0(), "environment": name, "info": {"submission": patch}})
    said = [{"role": "user", "content": "Fix it."}, {"role": "assistant", "content": "I could not."}]
    rows = [{"instance_id": each, "messages": said} for each in (other, graph.held_out[0], "elsewhere-1")]
    write_lines(runs / "chats.jsonl", rows)
    assert graph.materialize("trajectories").success

    attempts = attempts_from_table(pq.read_table(graph.artefacts.path("trajectories", "tiny") / "trajectories.parquet"))
    old = [attempt for attempt in attempts if attempt.kind == "historical"]
    assert [(a.instance_id, a.verdict.status, a.verdict_source, a.reward) for a in old] == [
        (name, "resolved", "verifier", 1.0),
        (other, "no_verdict", "none", None),
    ]
    assert old[0].verdict.sandbox_grade == "strong"
    assert old[0].response_tokens > 0
    rejected = pq.read_table(graph.artefacts.path("trajectories", "tiny") / "rejected.parquet").to_pylist()
    assert [(row["category"], row["line"]) for row in rejected] == [("held_out", 2), ("unknown_issue", 3)]

    metadata = graph.materialization("trajectories").metadata
    trained = len(graph.trained)
    assert metadata["dagster/row_count"].value == len(attempts) == 12 + 2 * trained + 2
    assert metadata["attempts"].value == {"gold": 12, "rollout": 2 * trained, "historical": 2}
    assert metadata["verdicts"].value["gold"] == {"resolved": 12}
    assert metadata["verdicts"].value["historical"] == {"resolved": 1, "no_verdict": 1}
    assert metadata["verdict_sources"].value == {"verifier": 12 + 2 * trained + 1, "none": 1}
    assert metadata["base_pass_at_k"].value.keys() == {"pass@1", "pass@2"}
    assert metadata["runs_left_out_by_reason"].value == {"held_out": 1, "unknown_issue": 1}
    assert "elsewhere-1 is no verified issue" in metadata["left_out"].value
    assert metadata["solve_rates"].value.startswith("![solve rates](data:image/png;base64,")
    assert f"**{name}: resolved** (historical, swe-agent 0.x {name}.traj)" in metadata["examples"].value
    inputs = {each.asset for each in read_lineage(graph.artefacts.path("trajectories", "tiny")).inputs}
    assert inputs == {"historical_issues", "base_model", "benchmark_source"}

    # What was tried on an issue is not what makes it hard: its solve rate is the base's.
    assert graph.materialize("train_split", "val_split", "test_split").success


@pytest.mark.slow
def test_a_run_that_is_added_is_seen(graph):
    runs = graph.benchmarks / "tiny" / "runs"
    graph.instance.report_runless_asset_event(observe_benchmark(find_benchmark("tiny", graph.benchmarks)))
    assert graph.materialize("historical_issues", "trajectories").success
    assert graph.stale("trajectories") == {}
    before = graph.version("historical_issues")
    name = graph.trained[0]
    code, _ = fix(int(name.rpartition("-")[2]))
    said = [{"role": "user", "content": "Fix it."}, {"role": "assistant", "content": f"```python\n{code}```"}]
    write_lines(runs / "chats.jsonl", [{"instance_id": name, "messages": said}])
    graph.instance.report_runless_asset_event(observe_benchmark(find_benchmark("tiny", graph.benchmarks)))
    assert graph.stale("trajectories") == {"trajectories": "benchmark_source has a new data version"}
    assert graph.materialize("historical_issues", "trajectories").success
    assert graph.stale("trajectories") == {}
    # The issues are what they were.
    assert graph.version("historical_issues") == before
    assert graph.materialization("trajectories").metadata["attempts"].value["historical"] == 1


@pytest.mark.slow
def test_an_endpoint_answers_in_place_of_the_base(make_graph):
    graph = make_graph(trajectories={"rollouts_per_issue": 2})
    assert graph.materialize("historical_issues").success
    message = {"role": "assistant", "content": "```python\nx = 1\n```"}
    reply = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 7}}
    with serving(lambda path, body: reply) as served:
        overrides = {
            "trajectories.endpoint": served.url,
            "trajectories.endpoint_api": "chat",
            "trajectories.endpoint_model": "a-model",
        }
        assert graph.materialize("trajectories", overrides=overrides).success
    attempts = attempts_from_table(pq.read_table(graph.artefacts.path("trajectories", "tiny") / "trajectories.parquet"))
    rollouts = [attempt for attempt in attempts if attempt.kind == "rollout"]
    assert len(served.asked) == len(rollouts) > 0
    assert {(a.policy, a.verdict.status, a.verdict_source) for a in rollouts} == {("a-model", "failed", "verifier")}


@pytest.mark.slow
def test_an_endpoint_that_is_not_there_is_one_line(make_graph):
    graph = make_graph()
    assert graph.materialize("historical_issues").success
    with serving(lambda path, body: (404, "no such model", {})) as served:
        done = graph.materialize("trajectories", overrides={"trajectories.endpoint": served.url}, raise_on_error=False)
    (event,) = [each for each in done.all_events if each.is_step_failure]
    assert f"tiny: {served.url}/completions: 404 no such model" in event.step_failure_data.error.message


def attempt(name, status, kind="rollout", **more):
    return Attempt(
        instance_id=name,
        group="g",
        kind=kind,
        attempt=0,
        prompt=[{"role": "user", "content": "Why?\nHow?"}],
        response="So.",
        response_tokens=1,
        finished=True,
        verdict=Verdict(status=status, reason="because"),
        **more,
    )


def test_pass_at_k_by_hand():
    tries = solve_rates(
        [
            *[attempt("one", status) for status in ("resolved", "failed", "failed")],
            *[attempt("two", status) for status in ("resolved", "resolved", "no_verdict", "failed")],
            attempt("one", "resolved", "gold"),
            attempt("two", "resolved", "historical"),
        ]
    )
    assert tries == {"one": [True, False, False], "two": [True, True, False]}
    # 1 - C(2, k) / C(3, k) and 1 - C(1, k) / C(3, k).
    assert pass_at(tries) == pytest.approx({1: (1 / 3 + 2 / 3) / 2, 2: (2 / 3 + 1) / 2, 3: 1.0})
    assert pass_at({}) == {}


def test_examples_are_readable():
    tried = [attempt("a", "failed"), attempt("b", "resolved"), attempt("c", "failed"), attempt("d", "resolved", "gold")]
    assert [found.instance_id for found in examples(tried)] == ["b", "a"]
    assert as_markdown(tried[0]) == "**a: failed** (rollout) because\n\n> Why?\n> How?\n\nSo."
    call = {"function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    turns = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "```\nx" * 1000}]
    shown = as_markdown(attempt("e", "failed", "historical", turns=turns * 6, origin="chat messages f:1"))
    assert '*assistant*\n\n```\nbash({"command": "ls"})\n```' in shown
    assert "\n[3500 characters left out]\n" in shown
    assert "*4 messages are left out here*" in shown
    assert "````\n```\nx" in shown
    assert len(shown) < 14_000
