"""Small files of each format, as the agents write them."""

from typing import Any

from tests.data.readers.samples.conversations import chat_row, nebius_row, sharegpt_row
from tests.data.readers.samples.files import call, read_one, rejected_one, texts, write, write_lines
from tests.data.readers.samples.mini_swe_agent import mini_11, mini_info, mini_list, mini_responses
from tests.data.readers.samples.openhands import (
    v0_called,
    v0_pairs,
    v0_resolver,
    v0_row,
    v1_acted,
    v1_observed,
    v1_row,
    v1_said,
)
from tests.data.readers.samples.sweagent import sweagent_0, sweagent_1

__all__ = [
    "EVERY",
    "call",
    "chat_row",
    "mini_11",
    "mini_info",
    "mini_list",
    "mini_responses",
    "nebius_row",
    "read_one",
    "rejected_one",
    "sharegpt_row",
    "sweagent_0",
    "sweagent_1",
    "texts",
    "v0_called",
    "v0_pairs",
    "v0_resolver",
    "v0_row",
    "v1_acted",
    "v1_observed",
    "v1_row",
    "v1_said",
    "write",
    "write_lines",
]

EVERY: dict[str, Any] = {
    "swe-agent 0.x": sweagent_0,
    "swe-agent 1.0": lambda: sweagent_1("messages"),
    "swe-agent 1.1": sweagent_1,
    "swe-agent demonstration": lambda: {"history": sweagent_0()["history"]},
    "swe-agent attempts": lambda: {"attempts": [sweagent_0(), sweagent_1()]},
    "mini list": mini_list,
    "mini 1.1": mini_11,
    "mini responses": mini_responses,
    "openhands v0": v0_row,
    "openhands pairs": v0_pairs,
    "openhands resolver": v0_resolver,
    "openhands v1": v1_row,
    "openhands events": lambda: v1_row()["history"],
    "chat": chat_row,
    "nebius": nebius_row,
    "sharegpt": sharegpt_row,
}
