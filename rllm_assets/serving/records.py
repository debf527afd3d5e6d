"""What is deployed, what came of it, and the error that says why not."""

import json
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class ServingError(RuntimeError):
    """A deployment that did not come about; the message names the cause and what to do."""


class ChatMessage(TypedDict):
    """One message of a chat completion, in OpenAI's layout."""

    role: str
    content: str
    name: NotRequired[str]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Servable(_Record):
    """A LoRA with the base it belongs to, ready to be served."""

    base_model_dir: Path = Field(description="The base as transformers saves it: config, safetensors, tokenizer.")
    adapter_dir: Path = Field(
        description="The LoRA as PEFT saves it: adapter_config.json and adapter_model.safetensors."
    )
    base_model_name: str = Field(
        min_length=1, description="The base as people call it, a Hugging Face id where it has one."
    )
    checkpoint_hash: str = Field(min_length=1, description="Content hash of the checkpoint that the LoRA comes from.")
    lora_rank: int = Field(gt=0, description="Rank of the LoRA.")
    lineage: dict[str, JsonValue] = Field(
        default_factory=dict, description="The checkpoint's lineage, down to issue ids."
    )


class Endpoint(_Record):
    """A live OpenAI-compatible endpoint."""

    name: str = Field(description="Of the endpoint.")
    target: Literal["local", "kserve"] = Field(description="Where it runs.")
    url: str = Field(description="OpenAI base URL: POST {url}/chat/completions.")
    model: str = Field(description="What a request names as its model.")
    base_model_name: str = Field(description="The base under the LoRA.")
    checkpoint_hash: str = Field(description="Of the checkpoint that is served.")
    started_at: datetime = Field(description="When this checkpoint's server was started or applied, in UTC.")
    pid: int | None = Field(default=None, description="The server's process, where it is one of this machine.")
    log: Path | None = Field(default=None, description="What the server writes, where it is a file of this machine.")
    smoke_seconds: float | None = Field(
        default=None, description="Seconds that the smoke test's completion took; unset where none could be asked for."
    )
    smoke_answer: str | None = Field(default=None, description="What the smoke test was answered.")
    lineage: dict[str, JsonValue] = Field(default_factory=dict, description="The checkpoint's lineage.")


class EndpointStatus(_Record):
    """What has become of an endpoint."""

    state: Literal["serving", "unhealthy", "dead", "stopped", "absent"] = Field(
        description="Answers; runs without answering; its process is gone; stopped on request; never deployed."
    )
    detail: str = Field(description="The same in a sentence.")
    endpoint: Endpoint | None = Field(default=None, description="The last one deployed under that name.")


def curl_command(endpoint: Endpoint, messages: Sequence[ChatMessage], max_tokens: int = 128) -> str:
    """Return a shell command that asks the endpoint for one greedy chat completion."""
    body = {"model": endpoint.model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0}
    parts = [
        "curl",
        "-s",
        f"{endpoint.url}/chat/completions",
        "-H",
        "Content-Type: application/json",
        "-d",
        json.dumps(body),
    ]
    return shlex.join(parts)
