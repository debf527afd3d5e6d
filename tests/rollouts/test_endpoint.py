"""Sampling from an OpenAI-compatible server: exact tokens where it gives them, text where it does not, and its faults."""

import pytest
from transformers import AutoTokenizer

from rllm_assets.config import AgentConfig, RewardsConfig, TrajectoriesConfig
from rllm_assets.data.answers import answer_format
from rllm_assets.rewards import Scorer
from rllm_assets.rollouts import Judge, collect, to_attempt
from rllm_assets.rollouts.endpoint import EndpointError, open_endpoint
from rllm_assets.rollouts.episodes import observation_tokens
from rllm_assets.training.batches import to_samples
from rllm_assets.training.records import TrainingError
from tests.rollouts.fake_endpoint import serving
from tests.rollouts.test_episodes import EDIT, FIXED, LOOK, SUBMIT, Recorded, an_issue

ANSWER = f"```python\n{FIXED}```"


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


def tokens_of(tokenizer, text, *, ended=True):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id] if ended else ids


def vllm(tokenizer, *texts, finish="stop"):
    """Answer completions as vLLM does, one text after the other."""
    waiting = list(texts)

    def reply(path, body):
        ids = tokens_of(tokenizer, waiting.pop(0))[: body["max_tokens"]]
        logprobs = {"tokens": ["?"] * len(ids), "token_logprobs": [-0.25] * len(ids)}
        choice = {"index": 0, "text": "?", "token_ids": ids, "logprobs": logprobs, "finish_reason": finish}
        return {"choices": [choice], "usage": {"completion_tokens": len(ids)}}

    return reply


def chat(*texts, finish="stop", **usage):
    waiting = list(texts)

    def reply(path, body):
        message = {"role": "assistant", "content": waiting.pop(0)}
        return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}

    return reply


def endpoint(url, tokenizer, api="completions", slept=None, **more):
    config = TrajectoriesConfig(endpoint=url, endpoint_api=api, endpoint_requests=1, **more)
    return open_endpoint(config, "served", tokenizer, sleep=slept.append if slept is not None else _no_sleep)


def _no_sleep(seconds):
    raise AssertionError(seconds)


def collected(sampler, tokenizer, name="function", samples=1, limits=None):
    verifier = Recorded()
    judge = Judge(answer_format(name), verifier, Scorer(RewardsConfig(), for_training=True), limits or AgentConfig())
    (group,) = collect(
        sampler,
        tokenizer,
        judge,
        [an_issue()],
        samples=samples,
        temperature=0.8,
        max_prompt_tokens=4000,
        max_response_tokens=4000,
        seeds=[7],
    )
    return group, verifier


def test_token_ids_go_out_and_come_back_as_they_are(tokenizer):
    with serving(vllm(tokenizer, ANSWER, "no")) as served, endpoint(served.url, tokenizer) as sampler:
        group, verifier = collected(sampler, tokenizer, samples=2)
    prompt = tokenizer.apply_chat_template(
        answer_format("function").prompt(an_issue()), add_generation_prompt=True, return_dict=False
    )
    assert [asked["prompt"] for asked in served.asked] == [prompt, prompt]
    assert served.paths == ["/v1/completions"] * 2
    one = served.asked[0]
    assert (one["model"], one["temperature"], one["max_tokens"], one["n"]) == ("served", 0.8, 4000, 1)
    # Nothing of the server's own narrows what is sampled, and no special token is added to what has them.
    assert (one["top_p"], one["top_k"], one["min_p"], one["repetition_penalty"]) == (1.0, -1, 0.0, 1.0)
    assert (one["add_special_tokens"], one["return_token_ids"], one["logprobs"]) == (False, True, 1)
    assert served.asked[0]["seed"] != served.asked[1]["seed"]
    # The local sampler ends an answer with its fence; so does this.
    ids = tokens_of(tokenizer, ANSWER, ended=False)
    assert group[0].sample.token_ids == ids
    assert group[0].sample.logprobs == [-0.25] * len(ids)
    assert (group[0].sample.text, group[0].sample.finished, group[0].reward) == (ANSWER, True, 1.0)
    assert (group[1].sample.text, group[1].reward) == ("no", 0.0)
    assert verifier.candidates == [FIXED, None]
    sample = to_samples([group])[0]
    assert (sample.prompt_ids, sample.response_ids, sample.length) == (prompt, ids, len(ids))


def test_the_same_seed_asks_the_same(tokenizer):
    asked = []
    for _ in range(2):
        with serving(vllm(tokenizer, ANSWER)) as served, endpoint(served.url, tokenizer) as sampler:
            collected(sampler, tokenizer)
        asked.append(served.asked)
    assert asked[0] == asked[1]


def test_the_tokens_of_several_turns_are_put_together_and_never_made_again(tokenizer):
    with serving(vllm(tokenizer, EDIT, LOOK, SUBMIT)) as served, endpoint(served.url, tokenizer) as sampler:
        (rollout,), verifier = collected(sampler, tokenizer, "agent")
    said = [tokens_of(tokenizer, text, ended=text == EDIT) for text in (EDIT, LOOK, SUBMIT)]
    seen = [
        observation_tokens(tokenizer, text, ids[-1])
        for text, ids in zip(("Edited: money.py", FIXED.strip("\n")), said, strict=False)
    ]
    assert rollout.sample.token_ids == [*said[0], *seen[0], *said[1], *seen[1], *said[2]]
    learned = [token for token, given in zip(rollout.sample.token_ids, rollout.sample.given, strict=True) if not given]
    assert learned == [*said[0], *said[1], *said[2]]
    assert len(rollout.sample.logprobs) == len(learned)
    # Each turn is asked with the very tokens of those before it.
    prompt = rollout.prompt_ids
    assert [asked["prompt"] for asked in served.asked] == [
        prompt,
        [*prompt, *said[0], *seen[0]],
        [*prompt, *said[0], *seen[0], *said[1], *seen[1]],
    ]
    assert verifier.candidates == [FIXED]
    (sample,) = to_samples([[rollout]])
    assert sample.given == rollout.sample.given


def test_a_server_that_knows_messages_alone_plays_episodes_that_are_not_trained_on(tokenizer):
    replies = chat(EDIT, SUBMIT, completion_tokens=9)
    with serving(replies) as served, endpoint(served.url, tokenizer, "chat", endpoint_model="gpt") as sampler:
        (rollout,), verifier = collected(sampler, tokenizer, "agent")
    first = answer_format("agent").prompt(an_issue())
    assert served.paths == ["/v1/chat/completions"] * 2
    assert [asked["messages"] for asked in served.asked] == [
        first,
        [*first, {"role": "assistant", "content": EDIT}, {"role": "user", "content": "Edited: money.py"}],
    ]
    assert served.asked[0].keys() == {"model", "messages", "max_tokens", "n", "top_p", "stream", "temperature", "seed"}
    assert served.asked[0]["model"] == "gpt"
    assert (verifier.candidates, rollout.reward) == ([FIXED], 1.0)
    # The first answer's tokens are the server's count; the second was cut at its fence, and is counted here.
    ended = len(tokens_of(tokenizer, SUBMIT, ended=False))
    assert (rollout.sample.token_ids, rollout.sample.length) == ([], 9 + ended)
    attempt = to_attempt(rollout, answer_format("agent"), 0, "gpt")
    assert (attempt.policy, attempt.response_tokens, len(attempt.turns)) == ("gpt", 9 + ended, 3)
    with pytest.raises(TrainingError, match=r"came as text.*trajectories\.endpoint_api: completions"):
        to_samples([[rollout]])


@pytest.mark.parametrize(("finish", "finished"), [("stop", True), ("length", False)])
def test_what_ended_by_itself_is_finished(tokenizer, finish, finished):
    with serving(chat("Hm", finish=finish)) as served, endpoint(served.url, tokenizer, "chat") as sampler:
        group, _ = collected(sampler, tokenizer)
    assert (group[0].sample.finished, group[0].sample.length) == (finished, 2)


def test_limits_hold_for_text_as_for_tokens(tokenizer):
    replies = chat("I look.", "I look again.", completion_tokens=5)
    with serving(replies) as served, endpoint(served.url, tokenizer, "chat") as sampler:
        (rollout,), _ = collected(sampler, tokenizer, "agent", limits=AgentConfig(max_turns=2))
    assert len(served.asked) == 2
    assert (rollout.sample.finished, rollout.sample.length) == (False, 10)


def test_a_server_without_token_ids_says_what_to_do(tokenizer):
    plain = {"choices": [{"text": "x", "finish_reason": "stop", "logprobs": None}]}
    with (
        serving(lambda path, body: plain) as served,
        endpoint(served.url, tokenizer) as sampler,
        pytest.raises(EndpointError, match=r"served: the server gives no token ids.*trajectories\.endpoint_api: chat"),
    ):
        collected(sampler, tokenizer)


def test_a_busy_server_is_asked_again(tokenizer):
    replies = iter([(429, "slow down", {"retry-after": "7"}), (503, "starting", {}), None])
    good = vllm(tokenizer, ANSWER)
    slept = []
    with (
        serving(lambda path, body: next(replies) or good(path, body)) as served,
        endpoint(served.url, tokenizer, slept=slept) as sampler,
    ):
        group, _ = collected(sampler, tokenizer)
    assert group[0].reward == 1.0
    assert slept == [7.0, 2.0]


def test_one_refused_prompt_has_no_verdict_and_the_others_go_on(tokenizer):
    good = vllm(tokenizer, ANSWER)
    replies = iter([None, (400, '{"error": "too long"}', {})])
    with (
        serving(lambda path, body: next(replies) or good(path, body)) as served,
        endpoint(served.url, tokenizer) as sampler,
    ):
        group, verifier = collected(sampler, tokenizer, samples=2)
    assert [rollout.reward for rollout in group] == [1.0, None]
    assert group[1].verdict.reason == 'the endpoint refused: 400 {"error": "too long"}'
    assert verifier.candidates == [FIXED]


@pytest.mark.parametrize(
    ("reply", "message", "waits"),
    [
        ((401, "no key", {}), "/v1/completions: 401 no key", []),
        ((404, "The model `served` does not exist", {}), "404 The model `served` does not exist", []),
        ((302, "", {"location": "http://elsewhere/"}), "/v1/completions: 302", []),
        ((429, "quota", {"retry-after": "86400"}), "asks to wait for 86400 s: 429 quota; come back then", []),
        ((400, "bad", {}), "answers nothing: the endpoint refused: 400 bad", []),
        ((500, "oh", {}), "does not answer, tried 6 times; the last time: 500 oh", [1.0, 2.0, 4.0, 8.0, 16.0]),
        ({"error": "quota"}, r"does not speak OpenAI's protocol; it says: \{\"error\": \"quota\"\}", []),
        ((200, "<html>", {}), "does not speak OpenAI's protocol; it says: <html>", []),
    ],
)
def test_a_server_that_does_not_answer_is_one_error(tokenizer, reply, message, waits):
    slept = []
    with (
        serving(lambda path, body: reply) as served,
        endpoint(served.url, tokenizer, slept=slept) as sampler,
        pytest.raises(EndpointError, match=message),
    ):
        collected(sampler, tokenizer)
    assert slept == waits


def test_nobody_there(tokenizer):
    slept = []
    with (
        endpoint("http://127.0.0.1:9/v1", tokenizer, slept=slept) as sampler,
        pytest.raises(EndpointError, match=r"127\.0\.0\.1:9/v1/completions does not answer.*ConnectError"),
    ):
        collected(sampler, tokenizer)
    assert len(slept) == 5


def test_the_key_is_in_the_environment_and_goes_to_the_server_alone(tokenizer, monkeypatch):
    with (
        pytest.raises(EndpointError, match=r"trajectories\.endpoint_key: the environment has no THE_KEY"),
        endpoint("http://h/v1", tokenizer, endpoint_key="THE_KEY"),
    ):
        pass
    monkeypatch.setenv("THE_KEY", "abc")
    with (
        serving(vllm(tokenizer, ANSWER)) as served,
        endpoint(served.url, tokenizer, endpoint_key="THE_KEY") as sampler,
    ):
        collected(sampler, tokenizer)
    assert {name.lower(): value for name, value in served.headers[0].items()}["authorization"] == "Bearer abc"
