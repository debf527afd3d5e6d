"""Sampling from a server that speaks OpenAI's protocol, in place of the local sampler.

`TokenEndpoint` sends and gets token ids (``/completions`` of vLLM 0.10.2 and newer), so that what is learned is what was
sampled. `ChatEndpoint` sends messages and gets text (``/chat/completions``, which every such server has); its answers can be
judged, shown and exported, but not trained on token by token.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from transformers import PreTrainedTokenizerBase

from rllm_assets.config import TrajectoriesConfig
from rllm_assets.data.trajectories import Message, text_of
from rllm_assets.models.sampler import Sample
from rllm_assets.models.stopping import Stopping, StopRule, answer_seed

_TRIES = 6
# Seconds that a server may ask to be waited for.
_LONGEST_WAIT = 900
_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504, 529))
# What is wrong with one prompt, such as its length; what is wrong with all of them is an error.
_OF_ONE = frozenset((400, 413, 422))


class EndpointError(RuntimeError):
    """A server cannot be sampled from; the message names it and says what to do."""


class _Server:
    """A server, and what is sent to it: one request an answer, several at a time, tried again where that may help."""

    def __init__(
        self,
        config: TrajectoriesConfig,
        model: str,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Bind the address.

        Raises:
            EndpointError: where the key's variable is not set.
        """
        assert config.endpoint is not None
        self._url = config.endpoint.rstrip("/")
        self._model = config.endpoint_model or model
        self._workers = config.endpoint_requests
        self._sleep = sleep
        headers: dict[str, str] = {}
        if config.endpoint_key:
            if not (key := os.environ.get(config.endpoint_key)):
                raise EndpointError(f"trajectories.endpoint_key: the environment has no {config.endpoint_key}")
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx.Client(headers=headers, timeout=config.endpoint_seconds, transport=transport)
        self._has_answered = False

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._model

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(
        self,
        path: str,
        questions: Sequence[dict[str, Any]],
        read: Callable[[dict[str, Any]], Sample],
        samples: int,
        temperature: float | Sequence[float],
        max_tokens: int,
        seeds: Sequence[int],
        progress: Callable[[int], None] | None,
    ) -> list[list[Sample]]:
        """Return `samples` answers to each question, read from the server's."""
        temperatures = [temperature] * samples if isinstance(temperature, int | float) else list(temperature)
        common = {"model": self._model, "max_tokens": max_tokens, "n": 1, "top_p": 1.0, "stream": False}
        bodies = [
            {**common, **question, "temperature": each, "seed": answer_seed(seed, number)}
            for question, seed in zip(questions, seeds, strict=True)
            for number, each in enumerate(temperatures)
        ]
        found: list[Sample] = []
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for sample in pool.map(lambda body: self._answer(path, body, read), bodies):
                    found.append(sample)
                    if progress is not None and len(found) % samples == 0:
                        progress(samples)
            finally:
                pool.shutdown(cancel_futures=True)
        self._has_answered |= any(not sample.failure for sample in found)
        if found and not self._has_answered:
            raise EndpointError(f"{self._url}{path} answers nothing: {found[0].failure}")
        return [found[start : start + samples] for start in range(0, len(found), samples)]

    def _answer(self, path: str, body: dict[str, Any], read: Callable[[dict[str, Any]], Sample]) -> Sample:
        problem = ""
        for wait in [*_waits(), None]:
            asked_to_wait = None
            try:
                response = self._client.post(f"{self._url}{path}", json=body)
                problem = f"{response.status_code} {' '.join(response.text.split())[:300]}"
                if response.status_code == httpx.codes.OK:
                    return read(_checked(response, self._url + path))
                if response.status_code in _OF_ONE:
                    return Sample([], [], "", finished=False, failure=f"the endpoint refused: {problem}")
                if response.status_code not in _AGAIN:
                    raise EndpointError(f"{self._url}{path}: {problem}")
                asked_to_wait = response.headers.get("retry-after")
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            if wait is None:
                break
            seconds = float(asked_to_wait) if asked_to_wait is not None and asked_to_wait.isdecimal() else wait
            if seconds > _LONGEST_WAIT:
                raise EndpointError(f"{self._url}{path} asks to wait for {seconds:.0f} s: {problem}; come back then")
            self._sleep(seconds)
        raise EndpointError(f"{self._url}{path} does not answer, tried {_TRIES} times; the last time: {problem}")


class TokenEndpoint:
    """Samples like `rllm_assets.models.sampler.Sampler`: token ids in, token ids with log-probabilities out.

    The log-probabilities are the server's. vLLM's are of temperature 1, unless it was started with
    ``--logprobs-mode processed_logprobs``.
    """

    def __init__(self, server: _Server, tokenizer: PreTrainedTokenizerBase) -> None:
        """Bind the server and the tokenizer of the model that it serves."""
        self._server, self._tokenizer, self.policy = server, tokenizer, server.model
        self._stopping = Stopping(tokenizer)

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        samples: int,
        *,
        temperature: float | Sequence[float],
        max_tokens: int,
        seeds: Sequence[int],
        stop: StopRule | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Sample]]:
        """Sample `samples` answers to each prompt, as `Sampler.sample` does. An answer that the server refuses has a `failure`.

        Raises:
            EndpointError: where the server does not answer, or gives no token ids.
        """
        # A server's own defaults, such as those of generation_config.json, would change what is sampled.
        plain = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
        asked = {"logprobs": 1, "return_token_ids": True, "add_special_tokens": False, **plain}
        questions = [{"prompt": list(prompt), **asked} for prompt in prompts]
        return self._server.ask(
            "/completions",
            questions,
            lambda choice: self._read(choice, stop),
            samples,
            temperature,
            max_tokens,
            seeds,
            progress,
        )

    def _read(self, choice: dict[str, Any], stop: StopRule | None) -> Sample:
        ids, logprobs = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
        if not ids or not logprobs or len(ids) != len(logprobs):
            raise EndpointError(
                f"{self.policy}: the server gives no token ids with a log-probability each, as vLLM 0.10.2 and newer "
                "do; with trajectories.endpoint_api: chat its answers come as text, which is not trained on token by token"
            )
        # As the local sampler would have ended it.
        end = self._stopping.end(ids, stop)
        finished = end is not None or choice.get("finish_reason") == "stop"
        ids, logprobs = ids[:end], logprobs[:end]
        text = str(self._tokenizer.decode(ids, skip_special_tokens=True))
        return Sample(ids, [float(each) for each in logprobs], text, finished)


class ChatEndpoint:
    """Answers conversations; its samples have text and a number of tokens, no tokens."""

    def __init__(self, server: _Server, tokenizer: PreTrainedTokenizerBase) -> None:
        """Bind the server, and a tokenizer to count with where the server does not."""
        self._server, self._tokenizer, self.policy = server, tokenizer, server.model

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        samples: int,
        *,
        temperature: float | Sequence[float],
        max_tokens: int,
        seeds: Sequence[int],
        stop: StopRule | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Sample]]:
        """Sample `samples` answers to each conversation. An answer that the server refuses has a `failure`.

        Raises:
            EndpointError: where the server does not answer.
        """
        return self._server.ask(
            "/chat/completions",
            [{"messages": list(messages)} for messages in conversations],
            lambda choice: self._read(choice, stop),
            samples,
            temperature,
            max_tokens,
            seeds,
            progress,
        )

    def _read(self, choice: dict[str, Any], stop: StopRule | None) -> Sample:
        text = text_of((choice.get("message") or {}).get("content"))
        ends = (place for place, letter in enumerate(text, start=1) if letter == "`" and stop and stop(text[:place]))
        end = next(ends, None)
        finished = end is not None or choice.get("finish_reason") in ("stop", "tool_calls")
        told = choice["completion_tokens"] if end is None else None
        text = text[:end]
        counted = len(self._tokenizer(text, add_special_tokens=False)["input_ids"])  # pyright: ignore[reportArgumentType]
        return Sample([], [], text, finished, tokens=told if isinstance(told, int) else counted)


@contextlib.contextmanager
def open_endpoint(
    config: TrajectoriesConfig,
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[TokenEndpoint | ChatEndpoint]:
    """Open what samples from `trajectories.endpoint`; `model` is its model where the configuration names none.

    Raises:
        EndpointError: where the key's variable is not set.
    """
    server = _Server(config, model, transport=transport, sleep=sleep)
    try:
        yield (TokenEndpoint if config.endpoint_api == "completions" else ChatEndpoint)(server, tokenizer)
    finally:
        server.close()


def _checked(response: httpx.Response, where: str) -> dict[str, Any]:
    """Return the one choice of an answer, with the number of its tokens."""
    try:
        content = response.json()
        (choice,) = content["choices"]
        return {**choice, "completion_tokens": (content.get("usage") or {}).get("completion_tokens")}
    except (ValueError, KeyError, TypeError, AttributeError):
        said = " ".join(response.text.split())[:300]
        raise EndpointError(f"{where} does not speak OpenAI's protocol; it says: {said}") from None


def _waits() -> list[float]:
    return [float(2**number) for number in range(_TRIES - 1)]
