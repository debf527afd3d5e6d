"""Runs as OpenHands writes them, old and new."""

import json
from typing import Any

from tests.data.readers.samples.files import call


def v0_called(
    number: int, command: str, response_id: str, calls: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """An action with the model's response, and what came of it."""
    calls = calls or [call(f"c{number}", command, "execute_bash")]
    metadata = {
        "function_name": "execute_bash",
        "tool_call_id": f"c{number}",
        "model_response": {
            "id": response_id,
            "model": "m",
            "choices": [{"message": {"role": "assistant", "content": f"Thought {response_id}", "tool_calls": calls}}],
        },
        "total_calls_in_response": len(calls),
    }
    return [
        {
            "id": number * 2,
            "source": "agent",
            "message": f"Running command: {command}",
            "action": "run",
            "args": {"command": command, "thought": f"Thought {response_id}"},
            "tool_call_metadata": metadata,
        },
        {
            "id": number * 2 + 1,
            "source": "agent",
            "cause": number * 2,
            "observation": "run",
            "content": f"output of {command}",
            "extras": {"metadata": {"exit_code": 0}},
            "success": True,
            "tool_call_metadata": metadata,
        },
    ]


def v0_row() -> dict[str, Any]:
    """A row of output.jsonl: events, two calls in one response, a finish."""
    both = [call("c3", "cat a.py", "execute_bash"), call("c4", "cat b.py", "execute_bash")]
    finish = v0_called(6, "", "r3", [call("c6", "", "finish")])[0]
    return {
        "instance_id": "owner__repo-3",
        "test_result": {"git_patch": "diff --git a/a.py b/a.py\n", "report": {"resolved": True}},
        "instruction": "ISSUE",
        "metadata": {"llm_config": {"model": "openai/m", "api_key": "**********"}},
        "history": [
            {
                "id": 0,
                "source": "agent",
                "message": "SYSTEM",
                "action": "system",
                "args": {"content": "SYSTEM", "tools": [{"type": "function"}]},
            },
            {
                "id": 1,
                "source": "user",
                "message": "ISSUE",
                "action": "message",
                "args": {"content": "ISSUE", "image_urls": ["data:image/png;base64,AA=="]},
            },
            {
                "id": 2,
                "source": "environment",
                "observation": "agent_state_changed",
                "content": "",
                "extras": {"agent_state": "running"},
            },
            *v0_called(1, "ls", "r1"),
            *v0_called(3, "cat a.py", "r2", both),
            *v0_called(4, "cat b.py", "r2", both),
            {**finish, "action": "finish", "args": {"outputs": {}, "thought": ""}},
        ],
        "metrics": {
            "accumulated_cost": 0.5,
            "accumulated_token_usage": {"prompt_tokens": 100, "completion_tokens": 9},
            "token_usages": [{}, {}, {}],
        },
        "error": None,
        "instance": {"instance_id": "owner__repo-3"},
    }


def v0_pairs() -> dict[str, Any]:
    """A row of the time when histories were pairs: no responses of the model in it."""
    nothing = {"message": "No observation", "observation": "null", "content": "", "extras": {}}
    return {
        "instance_id": "owner__repo-4",
        "swe_instance": {},
        "instruction": "ISSUE",
        "git_patch": "diff --git a/a.py b/a.py\n",
        "metadata": {"model_name": "gpt-4o"},
        "history": [
            [
                {"id": 0, "source": "user", "message": "ISSUE", "action": "message", "args": {"content": "ISSUE"}},
                nothing,
            ],
            [
                {
                    "id": 3,
                    "source": "agent",
                    "message": "Run",
                    "action": "run",
                    "args": {"command": "ls", "thought": "Look."},
                },
                {
                    "id": 4,
                    "source": "agent",
                    "message": "Ran",
                    "cause": 3,
                    "observation": "run",
                    "content": "a.py",
                    "extras": {"exit_code": 0},
                },
            ],
            [{"id": 5, "source": "agent", "message": "Hm", "action": "message", "args": {"content": "Hm"}}, nothing],
            [
                {"id": 7, "source": "user", "message": "Go on", "action": "message", "args": {"content": "Go on"}},
                nothing,
            ],
            [
                {
                    "id": 9,
                    "source": "agent",
                    "message": "All done",
                    "action": "finish",
                    "args": {"outputs": {}, "thought": ""},
                },
                nothing,
            ],
        ],
        "error": None,
        "test_result": {"result": {"resolved": False}},
    }


def v0_resolver() -> dict[str, Any]:
    """A row of the resolver of 2024: the bare fields of events, which do not say who spoke."""
    return {
        "issue": {"owner": "neubig", "repo": "pr-viewer", "number": 5, "title": "Add MIT license", "body": "B"},
        "issue_type": "issue",
        "instruction": "ISSUE",
        "base_commit": "",
        "git_patch": "diff --git a/LICENSE b/LICENSE\n",
        "history": [
            {
                "content": "ISSUE",
                "images_urls": None,
                "wait_for_response": False,
                "action": "message",
                "security_risk": None,
            },
            {"command": "ls", "thought": "Look.", "keep_prompt": True, "is_confirmed": "confirmed", "action": "run"},
            {"content": "a.py", "command_id": 1, "command": "ls", "exit_code": 0, "observation": "run"},
            {"content": "Is that fine?", "action": "message"},
            {"content": "Go on", "action": "message"},
            {"outputs": {}, "thought": "", "action": "finish"},
        ],
        "metrics": None,
        "success": True,
        "comment_success": None,
        "success_explanation": "It is",
        "error": None,
    }


def v1_said(source: str, text: str, number: int, **more: Any) -> dict[str, Any]:
    """A message of the SDK."""
    role = "assistant" if source == "agent" else "user"
    content = [{"cache_prompt": False, "type": "text", "text": text}]
    message = {"role": role, "content": content, "thinking_blocks": [], "tool_calls": None, "name": None}
    return {
        "kind": "MessageEvent",
        "id": f"e{number}",
        "timestamp": "2026-01-01T00:00:00",
        "source": source,
        "llm_message": message,
        **more,
    }


def v1_acted(number: int, command: str, response_id: str, thought: str = "") -> dict[str, Any]:
    """An action of the SDK."""
    return {
        "kind": "ActionEvent",
        "id": f"e{number}",
        "source": "agent",
        "thought": [{"cache_prompt": False, "type": "text", "text": thought}] if thought else [],
        "reasoning_content": None,
        "thinking_blocks": [],
        "action": {"kind": "TerminalAction", "command": command},
        "tool_name": "terminal",
        "tool_call_id": f"c{number}",
        "tool_call": {
            "id": f"c{number}",
            "name": "terminal",
            "arguments": json.dumps({"command": command}),
            "origin": "completion",
        },
        "llm_response_id": response_id,
        "security_risk": "LOW",
    }


def v1_observed(number: int, action: int, observation: dict[str, Any]) -> dict[str, Any]:
    """What came of an action of the SDK."""
    return {
        "kind": "ObservationEvent",
        "id": f"e{number}",
        "source": "environment",
        "tool_name": "terminal",
        "tool_call_id": f"c{action}",
        "observation": observation,
        "action_id": f"e{action}",
    }


def v1_row() -> dict[str, Any]:
    """A row of the SDK's benchmarks: parallel calls, every form of observation, a condensation."""
    return {
        "instance_id": "owner__repo-5",
        "attempt": 2,
        "test_result": {"git_patch": "diff --git a/a.py b/a.py\n"},
        "instruction": "ISSUE",
        "metadata": {"llm": {"model": "litellm_proxy/m", "api_key": "**********"}},
        "history": [
            {
                "kind": "ConversationStateUpdateEvent",
                "id": "e0",
                "source": "environment",
                "key": "full_state",
                "value": {},
            },
            {
                "kind": "SystemPromptEvent",
                "id": "e1",
                "source": "agent",
                "system_prompt": {"type": "text", "text": "SYSTEM", "cache_prompt": False},
                "tools": [{"title": "terminal"}],
            },
            v1_said("user", "ISSUE", 2, extended_content=[{"type": "text", "text": "<HINT/>"}]),
            v1_acted(3, "ls", "r1", "Look."),
            v1_acted(4, "pwd", "r1"),
            v1_observed(
                5, 3, {"kind": "TerminalObservation", "content": [{"type": "text", "text": "a.py"}], "is_error": False}
            ),
            v1_observed(6, 4, {"kind": "ExecuteBashObservation", "output": "/testbed", "error": False}),
            {
                "kind": "Condensation",
                "id": "e7",
                "source": "environment",
                "forgotten_event_ids": ["e3", "e4", "e5", "e6"],
                "summary": "You looked around.",
                "summary_offset": 2,
                "llm_response_id": "r2",
            },
            v1_acted(8, "cat a.py", "r3"),
            {
                "kind": "AgentErrorEvent",
                "id": "e9",
                "source": "agent",
                "tool_name": "terminal",
                "tool_call_id": "c8",
                "error": "It failed",
            },
            v1_said("agent", "Done", 10, llm_response_id="r4"),
        ],
        "metrics": {"accumulated_cost": 0.1, "accumulated_token_usage": {"prompt_tokens": 7, "completion_tokens": 3}},
        "error": None,
        "instance": None,
    }
