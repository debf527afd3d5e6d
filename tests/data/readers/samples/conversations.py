"""Runs as plain conversations."""

from typing import Any

from tests.data.readers.samples.files import call


def chat_row() -> dict[str, Any]:
    """A row of chat JSONL with calls of a tool."""
    return {
        "instance_id": "owner__repo-6",
        "messages": [
            {"role": "system", "content": "SYSTEM"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "ISSUE"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
            {"role": "assistant", "content": "Look.", "tool_calls": [call("c1", "ls")], "train": True},
            {"role": "tool", "tool_call_id": "c1", "content": "a.py"},
            {"role": "assistant", "content": "Done."},
        ],
        "tools": [{"type": "function", "function": {"name": "bash"}}],
        "model": "m",
        "patch": "diff --git a/a.py b/a.py\n",
        "resolved": True,
        "split": "train",
    }


def nebius_row() -> dict[str, Any]:
    """A row of nebius/SWE-agent-trajectories."""

    def turn(role: str, text: str | None, **more: Any) -> dict[str, Any]:
        return {"role": role, "text": text, "mask": False, "system_prompt": None, "cutoff_date": None, **more}

    return {
        "instance_id": "owner__repo-7",
        "model_name": "swe-agent-llama-70b",
        "target": True,
        "trajectory": [
            turn("system", None, system_prompt="SETTING", cutoff_date="01.01.2023"),
            turn("user", "ISSUE"),
            turn("ai", "ls", mask=True),
            turn("user", "a.py"),
            turn("ai", "submit", mask=True),
        ],
        "exit_status": "submitted",
        "generated_patch": "diff --git a/a.py b/a.py\n",
        "eval_logs": "1 passed",
    }


def sharegpt_row() -> dict[str, Any]:
    """A row of ShareGPT as LLaMA-Factory has it."""
    return {
        "id": "identity_0",
        "conversations": [
            {"from": "human", "value": "ISSUE"},
            {"from": "function_call", "value": '{"name": "bash", "arguments": {}}'},
            {"from": "observation", "value": "a.py"},
            {"from": "gpt", "value": "Done.", "weight": 1},
        ],
        "system": "SYSTEM",
        "tools": '[{"name": "bash"}]',
    }
