"""Runs as SWE-agent writes them."""

import json
from typing import Any

from tests.data.readers.samples.files import call


def sweagent_0() -> dict[str, Any]:
    """0.x: a demonstration, two steps, the state as text."""

    def said(role: str, content: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "content": content, "agent": "primary", **more}

    return {
        "environment": "swe_main",
        "trajectory": [
            {
                "action": "ls\n",
                "observation": "a.py",
                "response": "Look.\n```\nls\n```",
                "state": "{}\n",
                "thought": "Look.",
            },
            {
                "action": "submit\n",
                "observation": "",
                "response": "Done.\n```\nsubmit\n```",
                "state": "{}\n",
                "thought": "Done.",
            },
        ],
        "history": [
            said("system", "SETTING"),
            said("user", "Here is a demonstration", is_demo=True),
            said("user", "ISSUE"),
            said("assistant", "Look.\n```\nls\n```", thought="Look.", action="ls\n"),
            said("user", "a.py\nbash-$"),
            said("assistant", "Done.\n```\nsubmit\n```", thought="Done.", action="submit\n"),
        ],
        "info": {
            "exit_status": "submitted",
            "submission": "diff --git a/a.py b/a.py\n",
            "model_stats": {
                "total_cost": 3,
                "instance_cost": 1.5,
                "tokens_sent": 10,
                "tokens_received": 4,
                "api_calls": 2,
            },
        },
    }


def sweagent_1(key: str = "query") -> dict[str, Any]:
    """1.0 (`messages`) or 1.1 (`query`): function calls, an answer that the parser refused, an old observation cut short."""
    system = {"role": "system", "content": "SETTING", "agent": "main", "message_type": "system_prompt"}
    issue = {"role": "user", "content": "ISSUE", "agent": "main", "message_type": "observation"}

    def answer(number: int, command: str) -> dict[str, Any]:
        return {
            "role": "assistant",
            "content": f"Thought {number}",
            "thought": f"Thought {number}",
            "action": command,
            "agent": "main",
            "tool_calls": [call(f"c{number}", command)],
            "message_type": "action",
            "thinking_blocks": None,
        }

    def result(number: int, text: str) -> dict[str, Any]:
        content = [{"type": "text", "text": text}]
        return {
            "role": "tool",
            "content": content,
            "agent": "main",
            "message_type": "observation",
            "tool_call_ids": [f"c{number}"],
        }

    history = [
        system,
        issue,
        answer(1, "ls"),
        result(1, "OBSERVATION:\na.py"),
        answer(2, "submit"),
        result(2, "OBSERVATION:\n"),
    ]
    cut = {**result(1, ""), "content": "Old environment output: (1 lines omitted)"}
    complaint = [
        {"role": "assistant", "content": "No call", "agent": "main"},
        {"role": "user", "content": "Your output could not be parsed"},
    ]
    cached = [{**issue, "content": [{"type": "text", "text": "ISSUE", "cache_control": {"type": "ephemeral"}}]}]
    queries = [
        [system, *cached],
        [system, issue, history[2], history[3]],
        [system, issue, history[2], cut, *complaint],
    ]

    def step(number: int, text: str, action: str, observation: str) -> dict[str, Any]:
        # What 1.0 wrote is what the next call was given.
        shown = queries[number] if key == "query" else (queries[1], queries[2], history)[number]
        return {
            "action": action,
            "observation": observation,
            "response": text,
            "thought": text,
            "execution_time": 0.5,
            "state": {"working_dir": "/testbed"},
            key: shown,
            "extra_info": {},
        }

    return {
        "trajectory": [
            step(0, "Thought 1", "ls", "a.py"),
            step(1, "No call", "", ""),
            step(2, "Thought 2", "submit", "diff"),
        ],
        "history": history,
        "info": {
            "swe_agent_version": "1.1.0",
            "exit_status": "submitted",
            "submission": "diff --git a/a.py b/a.py\n",
            "model_stats": {"instance_cost": 0.25, "tokens_sent": 10, "tokens_received": 4, "api_calls": 3},
        },
        "replay_config": json.dumps(
            {
                "problem_statement": {"id": "owner__repo-1", "text": "ISSUE"},
                "agent": {"model": {"name": "gpt-4o", "api_key": "hunter2hunter2"}},
            }
        ),
        "environment": "main",
    }
