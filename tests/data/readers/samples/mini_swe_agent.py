"""Runs as mini-swe-agent writes them."""

from typing import Any

from tests.data.readers.samples.files import call


def mini_list() -> list[dict[str, Any]]:
    """A bare list of messages."""
    return [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": "Please solve this issue: ISSUE"},
        {"role": "assistant", "content": "```bash\nls\n```"},
        {"role": "user", "content": "<returncode>0</returncode>"},
        {"role": "assistant", "content": "```bash\necho done\n```"},
        {"role": "user", "content": "diff --git a/a.py b/a.py\n"},
    ]


def mini_info(**more: Any) -> dict[str, Any]:
    """What format 1.1 says of a run."""
    return {
        "model_stats": {"instance_cost": 0.03, "api_calls": 3},
        "config": {
            "agent": {"step_limit": 0},
            "model": {"model_name": "deepseek/deepseek-chat", "model_kwargs": {"api_key": "0123456789abcdef"}},
        },
        "mini_version": "2.4.6",
        "exit_status": "Submitted",
        "submission": "diff --git a/a.py b/a.py\n",
        **more,
    }


def mini_11() -> dict[str, Any]:
    """Format 1.1 with calls of tools, an answer that was refused, and the role exit."""
    refused = {"choices": [{"message": {"role": "assistant", "content": "I would list the files."}}], "model": "m"}
    return {
        "info": mini_info(),
        "messages": [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": "Please solve this issue: ISSUE"},
            {
                "role": "user",
                "content": "No tool calls found",
                "extra": {"interrupt_type": "FormatError", "cost": 0.01, "response": refused},
            },
            {
                "role": "assistant",
                "content": "Look.",
                "tool_calls": [call("c1", "ls")],
                "function_call": None,
                "provider_specific_fields": {"refusal": None},
                "extra": {"actions": [{"command": "ls", "tool_call_id": "c1"}], "cost": 0.01},
            },
            {"content": "<output>a.py</output>", "extra": {"returncode": 0}, "tool_call_id": "c1", "role": "tool"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [call("c2", "submit")],
                "reasoning_content": "Enough.",
            },
            {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted", "submission": "diff"}},
        ],
        "instance_id": "owner__repo-2",
        "trajectory_format": "mini-swe-agent-1.1",
    }


def mini_responses() -> dict[str, Any]:
    """Format 1.1 with messages of the Responses API."""
    return {
        "info": mini_info(),
        "messages": [
            {"role": "system", "content": "You are helpful."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ISSUE"}]},
            {
                "object": "response",
                "id": "resp_1",
                "model": "gpt-5",
                "output": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Look first."}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "Look.", "annotations": []}]},
                    {"type": "function_call", "call_id": "c1", "name": "bash", "arguments": '{"command": "ls"}'},
                ],
                "extra": {"cost": 0.01},
            },
            {"type": "function_call_output", "call_id": "c1", "output": "a.py", "extra": {"returncode": 0}},
            {"role": "exit", "content": "", "extra": {"exit_status": "LimitsExceeded"}},
        ],
        "trajectory_format": "mini-swe-agent-1.1",
    }
