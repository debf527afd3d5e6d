"""SWE-agent's shapes: what stands in the history, what each call was given, and answers that the run did not keep."""

import pytest

from rllm_assets.data.readers import read_trajectories
from tests.data.readers.samples import read_one, sweagent_0, sweagent_1, texts, write, write_lines


def test_the_first_shape(tmp_path):
    run = read_one(write(tmp_path / "owner__repo-9.traj", sweagent_0()))
    assert (run.format, run.version, run.instance_id) == ("swe-agent", "0.x", "owner__repo-9")
    assert texts(run) == [
        ("system", "SETTING"),
        ("user", "Here is a demonstration"),
        ("user", "ISSUE"),
        ("assistant", "Look.\n```\nls\n```"),
        ("user", "a.py\nbash-$"),
        ("assistant", "Done.\n```\nsubmit\n```"),
    ]
    assert run.messages[1]["extra"] == {"agent": "primary", "is_demo": True}
    assert [(step.message, step.thought, step.action, step.observation) for step in run.steps] == [
        (3, "Look.", "ls\n", "a.py"),
        (5, "Done.", "submit\n", ""),
    ]
    assert run.steps[0].extra == {"state": "{}\n"}
    assert run.prompt(run.steps[1]) == run.messages[:5]
    assert (run.patch, run.exit_status) == ("diff --git a/a.py b/a.py\n", "submitted")
    assert run.stats == {"total_cost": 3, "cost": 1.5, "prompt_tokens": 10, "completion_tokens": 4, "calls": 2}
    assert run.extra == {"environment": "swe_main"}


def test_a_row_of_many_says_which_issue_it_is_about(tmp_path):
    rows = [{**sweagent_0(), "instance_id": "o__r-1", "resolved": True}, {**sweagent_1(), "instance_id": "o__r-2"}]
    runs = list(read_trajectories(write_lines(tmp_path / "rows.jsonl", rows)))
    assert [(run.instance_id, run.resolved) for run in runs] == [("o__r-1", True), ("o__r-2", None)]


@pytest.mark.parametrize(("key", "version"), [("messages", "1.0"), ("query", "1.1")])
def test_what_each_call_was_given(tmp_path, key, version):
    run = read_one(write(tmp_path / "x.traj", sweagent_1(key)))
    assert (run.version, run.instance_id, run.model) == (version, "owner__repo-1", "gpt-4o")
    assert texts(run) == [
        ("system", "SETTING"),
        ("user", "ISSUE"),
        ("assistant", "Thought 1"),
        ("tool", [{"type": "text", "text": "OBSERVATION:\na.py"}]),
        ("assistant", "Thought 2"),
        ("tool", [{"type": "text", "text": "OBSERVATION:\n"}]),
    ]
    assert [message.get("tool_call_id") for message in run.messages] == [None, None, None, "c1", None, "c2"]
    first, refused, last = run.steps
    assert (first.message, first.prompt) == (2, None)
    # The parser refused this answer, so that no message is it.
    assert (refused.message, refused.response, refused.prompt) == (None, "No call", [[0, 4]])
    assert run.answer(refused) == {"role": "assistant", "content": "No call"}
    assert last.message == 4
    assert [message["content"] for message in run.prompt(last)] == [
        "SETTING",
        "ISSUE",
        "Thought 1",
        "Old environment output: (1 lines omitted)",
        "No call",
        "Your output could not be parsed",
    ]
    assert last.extra == {"execution_time": 0.5, "state": {"working_dir": "/testbed"}}


def test_a_demonstration_is_its_history(tmp_path):
    run = read_one(write(tmp_path / "demo.traj", {"history": sweagent_0()["history"]}))
    assert run.version == "demonstration"
    assert [(step.message, step.action) for step in run.steps] == [(3, "ls\n"), (5, "submit\n")]


def test_demonstrated_answers_are_no_steps(tmp_path):
    value = sweagent_0()
    value["history"].insert(2, {"role": "assistant", "content": "demonstrated", "agent": "primary", "is_demo": True})
    run = read_one(write(tmp_path / "x.traj", value))
    assert len(run.messages) == 7
    assert [step.message for step in run.steps] == [4, 6]


def test_a_last_answer_that_the_history_lacks_is_added(tmp_path):
    value = sweagent_0()
    value["history"].pop()
    run = read_one(write(tmp_path / "x.traj", value))
    assert len(run.steps) == 2
    assert run.messages[-1] == {"role": "assistant", "content": "Done.\n```\nsubmit\n```"}
    assert run.steps[-1].message == 5


def test_an_edited_answer_keeps_both_texts(tmp_path):
    value = sweagent_0()
    value["history"][3]["content"] = "Look closely."
    run = read_one(write(tmp_path / "x.traj", value))
    assert [step.message for step in run.steps] == [3, 5]
    assert run.steps[0].extra["response"] == "Look.\n```\nls\n```"


def test_an_answer_of_another_agent_is_skipped(tmp_path):
    value = sweagent_0()
    value["history"].insert(4, {"role": "assistant", "content": "sub", "agent": "sub", "thought": "", "action": ""})
    run = read_one(write(tmp_path / "x.traj", value))
    assert [step.message for step in run.steps] == [3, 6]


def test_a_run_without_history_is_put_together_from_its_steps(tmp_path):
    value = {**sweagent_0(), "history": []}
    assert texts(read_one(write(tmp_path / "x.traj", value))) == [
        ("assistant", "Look.\n```\nls\n```"),
        ("user", "a.py"),
        ("assistant", "Done.\n```\nsubmit\n```"),
        ("user", ""),
    ]
    later = {**sweagent_1(), "history": []}
    run = read_one(write(tmp_path / "y.traj", later))
    assert [role for role, _ in texts(run)] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert len(run.steps) == 3


def test_each_attempt_is_a_run(tmp_path):
    first, second = sweagent_0(), sweagent_0()
    second["info"]["submission"] = "the better diff"
    best = {**second, "info": {**second["info"], "best_attempt_idx": 1}}
    runs = list(read_trajectories(write(tmp_path / "x.traj", {**best, "attempts": [first, second]})))
    assert [(run.patch, run.extra["attempt"], run.extra.get("chosen")) for run in runs] == [
        ("the better diff", 1, True),
        ("diff --git a/a.py b/a.py\n", 0, None),
    ]
    assert runs[0].extra["total"]["info"]["best_attempt_idx"] == 1
    # A run that was killed before anything was chosen.
    runs = list(read_trajectories(write(tmp_path / "y.traj", {"attempts": [first]})))
    assert [(len(run.steps), run.extra["attempt"], "chosen" in run.extra) for run in runs] == [(2, 0, False)]


def test_the_configuration_is_parsed_and_its_key_redacted(tmp_path):
    run = read_one(write(tmp_path / "x.traj", sweagent_1()))
    assert run.extra["replay_config"]["agent"]["model"] == {"name": "gpt-4o", "api_key": "[REDACTED:named_secret]"}
    assert run.redactions == {"named_secret": 1}
    run = read_one(write(tmp_path / "x.traj", {**sweagent_1(), "replay_config": "no JSON"}))
    assert run.extra["replay_config"] == {"text": "no JSON"}
