"""Whether a server answers: its health, and a real chat completion."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from rllm_assets.serving.processes import last_lines
from rllm_assets.serving.records import ChatMessage, ServingError

SMOKE_TOKENS = 32


class Smoke(NamedTuple):
    """What the smoke test's completion took, in seconds, and said."""

    seconds: float
    answer: str


def is_healthy(port: int, timeout_seconds: float) -> bool:
    """Tell whether GET /health on 127.0.0.1:port is answered with 200 in time."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=timeout_seconds, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def wait_until_healthy(process: subprocess.Popen[bytes], port: int, deadline: float, log: Path) -> None:
    """Return when the server is healthy; raise ServingError when it dies first or `deadline` (monotonic) passes."""
    started = time.monotonic()
    while not is_healthy(port, timeout_seconds=2):
        try:
            code = process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            code = None
        if code is not None:
            raise ServingError(
                f"the server ended at its start with exit code {code}; the last lines of its log:\n{last_lines(log)}"
            )
        if time.monotonic() >= deadline:
            raise ServingError(
                f"the server was not healthy after {time.monotonic() - started:.0f} s (serving.timeout_seconds); "
                f"the last lines of its log:\n{last_lines(log)}"
            )


def smoke_test(port: int, model: str, messages: Sequence[ChatMessage], deadline: float, log: Path) -> Smoke:
    """Ask for one greedy chat completion; raise ServingError unless the answer is a text of at least one character."""
    body = {"model": model, "messages": list(messages), "max_tokens": SMOKE_TOKENS, "temperature": 0}
    began = time.monotonic()
    try:
        response = httpx.post(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json=body,
            timeout=max(1.0, deadline - began),
            trust_env=False,
        )
    except httpx.TimeoutException as error:
        raise _failed(
            f"was not answered within {time.monotonic() - began:.0f} s (serving.timeout_seconds)", log
        ) from error
    except httpx.HTTPError as error:
        raise _failed(f"was not answered: {error}", log) from error
    if response.status_code != 200:
        raise _failed(f"was answered with status {response.status_code}: {response.text[:500]}", log)
    try:
        answer = response.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _failed(f"was answered with no chat completion: {response.text[:500]}", log) from error
    if not isinstance(answer, str) or not answer:
        raise _failed("was answered with an empty text", log)
    return Smoke(seconds=time.monotonic() - began, answer=answer)


def _failed(what: str, log: Path) -> ServingError:
    return ServingError(
        f"the smoke test's chat completion {what}; the last lines of the server's log:\n{last_lines(log)}"
    )
