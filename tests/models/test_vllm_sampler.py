"""vLLM as the sampler, against an engine of the same interface that computes with PEFT's own model.

`FakeLLM`, `FakeParams` and `FakeRequest` take what vLLM 0.26 takes (vllm/entrypoints/llm.py, sampling_params.py and
lora/request.py), and nothing else.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from rllm_assets.config import ConfigError, Layer, ModelConfig, resolve
from rllm_assets.models.embedded import ModelError
from rllm_assets.models.packing import pack
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sampler
from rllm_assets.models.samplers import open_sampler
from rllm_assets.models.vllm_sampler import VLLMSampler

PROMPTS = [[5, 6, 7, 8, 9], [20, 21], [30, 31, 32]]


@dataclass
class FakeParams:
    temperature: float
    top_p: float
    top_k: int
    seed: int
    max_tokens: int
    logprobs: int
    stop_token_ids: list[int]
    detokenize: bool


@dataclass(frozen=True)
class FakeRequest:
    lora_name: str
    lora_int_id: int
    lora_path: str

    def __post_init__(self) -> None:
        assert self.lora_int_id > 0


class FakeLLM:
    """Like the engine it knows an adapter by its number, and reads it once."""

    def __init__(
        self,
        model: str,
        *,
        dtype: str,
        max_model_len: int,
        gpu_memory_utilization: float,
        enable_lora: bool,
        max_loras: int,
        max_lora_rank: int,
        enable_prefix_caching: bool,
        logprobs_mode: str,
    ) -> None:
        assert (dtype, enable_lora, max_loras, enable_prefix_caching) == ("float32", True, 1, True)
        assert logprobs_mode == "processed_logprobs"
        self.settings = (max_model_len, gpu_memory_utilization, max_lora_rank)
        self._model = model
        self._known: dict[int, Any] = {}
        self.requests: list[FakeParams] = []

    def generate(
        self,
        prompts: list[dict[str, list[int]]],
        sampling_params: list[FakeParams],
        *,
        use_tqdm: bool,
        lora_request: FakeRequest | None,
    ) -> list[SimpleNamespace]:
        assert not use_tqdm
        assert all(set(prompt) == {"prompt_token_ids"} for prompt in prompts)
        self.requests += sampling_params
        model = self._with(lora_request)
        return [self._answer(model, p["prompt_token_ids"], s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _with(self, request: FakeRequest | None) -> Any:
        number = 0 if request is None else request.lora_int_id
        if number not in self._known:
            base = AutoModelForCausalLM.from_pretrained(self._model, dtype=torch.float32)
            self._known[number] = base if request is None else PeftModel.from_pretrained(base, request.lora_path)
        return self._known[number]

    @torch.no_grad()
    def _answer(self, model: Any, prompt: list[int], params: FakeParams) -> SimpleNamespace:
        generator = torch.Generator().manual_seed(params.seed)
        tokens: list[int] = []
        told: list[dict[int, SimpleNamespace]] = []
        while len(tokens) < params.max_tokens and not (tokens and tokens[-1] in params.stop_token_ids):
            logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, -1]
            logprobs = (logits / (params.temperature or 1.0)).log_softmax(-1)
            drawn = logprobs.argmax() if not params.temperature else logprobs.exp().multinomial(1, generator=generator)
            tokens.append(int(drawn))
            told.append({tokens[-1]: SimpleNamespace(logprob=float(logprobs[tokens[-1]]))})
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens, logprobs=told)])


@pytest.fixture
def vllm(monkeypatch):
    package, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    package.LLM, package.SamplingParams, request.LoRARequest = FakeLLM, FakeParams, FakeRequest  # pyright: ignore[reportAttributeAccessIssue]
    for module in (package, lora, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    config = ModelConfig(name=str(tiny_model), dtype="float32", sampler_dtype="float32", lora_rank=4, sampler="vllm")
    return Policy(config, seed=1, device=torch.device("cpu"))


def move(policy: Policy, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.policy_parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


def draw(sampler: Any, **options: Any) -> Any:
    settings = {"temperature": 0.8, "max_tokens": 24, "seeds": [1, 2, 3]} | options
    return sampler.sample(PROMPTS, 4, **settings)


def told_and_computed(policy: Policy, answers: Any) -> tuple[torch.Tensor, torch.Tensor]:
    packed = pack([(p, [a.token_ids for a in group]) for p, group in zip(PROMPTS, answers, strict=True)], policy.device)
    told = torch.tensor([lp for group in answers for a in group for lp in a.logprobs])
    return told, policy.logprobs(packed, 0.8)[0].detach()


def test_every_refresh_delivers_the_adapter(vllm, policy):
    """verl #7495: an adapter under a number that the engine knew was never read again."""
    sampler = VLLMSampler(policy)
    for seed in (1, 2):
        move(policy, seed)
        sampler.refresh()
        torch.testing.assert_close(*told_and_computed(policy, draw(sampler)), atol=5e-5, rtol=0)


def test_without_the_adapter_it_is_the_base(vllm, policy):
    sampler = VLLMSampler(policy)
    before = draw(sampler)
    move(policy, 1)
    sampler.refresh()
    assert draw(sampler) != before
    sampler.use_base()
    assert draw(sampler) == before
    with policy.reference():
        torch.testing.assert_close(*told_and_computed(policy, before), atol=5e-5, rtol=0)


def test_only_the_newest_adapter_lies_on_the_disk(vllm, policy):
    sampler = VLLMSampler(policy)
    for _ in range(3):
        sampler.refresh()
    folder = Path(sampler._adapter.lora_path)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_answers_end_where_the_own_sampler_ends_them(vllm, policy):
    """Greedy, so that both say the same; with a rule that ends an answer at its first backtick."""
    sampler, own = VLLMSampler(policy), Sampler(policy)
    move(policy, 3)
    sampler.refresh()
    own.refresh()
    for stop in (None, lambda text: "`" in text):
        found, expected = (
            one.sample(PROMPTS, 1, temperature=0.0, max_tokens=30, seeds=[1, 2, 3], stop=stop) for one in (sampler, own)
        )
        assert [[(a.token_ids, a.text, a.finished) for a in g] for g in found] == [
            [(a.token_ids, a.text, a.finished) for a in g] for g in expected
        ]


def test_what_comes_after_the_end_is_cut_off(vllm, policy):
    tokens = policy.tokenizer("ab`cd`e", add_special_tokens=False)["input_ids"]
    output = SimpleNamespace(
        token_ids=tokens, logprobs=[{t: SimpleNamespace(logprob=-1.0 - i)} for i, t in enumerate(tokens)]
    )
    answer = VLLMSampler(policy)._answer(output, lambda text: text.count("`") == 2)
    assert (answer.text, answer.finished, answer.logprobs) == ("ab`cd`", True, [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0])


def test_each_answer_has_a_seed_and_a_temperature_of_its_own(vllm, policy):
    sampler = VLLMSampler(policy)
    told: list[int] = []
    answers = draw(sampler, temperature=[0.8, 0.8, 0.8, 0.0], progress=told.append)
    assert [len(group) for group in answers] == [4, 4, 4]
    requests = sampler._engine.requests
    assert len({request.seed for request in requests}) == 12
    assert [request.temperature for request in requests] == [0.8, 0.8, 0.8, 0.0] * 3
    assert {(r.top_p, r.top_k, r.logprobs, tuple(r.stop_token_ids)) for r in requests} == {(1.0, 0, 0, (0,))}
    assert told == [12]
    assert draw(sampler, temperature=[0.8, 0.8, 0.8, 0.0]) == answers


def test_the_engine_has_room_for_prompt_and_answer(vllm, policy):
    assert VLLMSampler(policy)._engine.settings == (512 + 128, 0.4, 8)


def test_a_rank_beyond_its_kernels_is_refused(vllm, policy, monkeypatch):
    monkeypatch.setattr(policy, "config", policy.config.model_copy(update={"lora_rank": 513}))
    with pytest.raises(ModelError, match=r"model\.lora_rank 513 is beyond 512"):
        VLLMSampler(policy)


def test_without_cuda_or_vllm_that_is_said(policy, monkeypatch):
    with pytest.raises(ModelError, match=r"model\.sampler vllm needs a CUDA device, and this is cpu"):
        open_sampler(policy)
    monkeypatch.setattr(policy, "device", torch.device("cuda"))
    with pytest.raises(ModelError, match="needs vLLM, which is not installed"):
        open_sampler(policy)


def test_the_own_sampler_is_the_default(tiny_model):
    assert isinstance(open_sampler(Policy(ModelConfig(name=str(tiny_model)), seed=1)), Sampler)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"model.sampler_memory": 0.5}, r"model\.sampler_memory has no effect while model\.sampler is not vllm"),
        ({"model.sampler": "vllm", "model.quantization": "nf4"}, "sampler vllm holds the unquantized base"),
    ],
)
def test_what_does_not_go_with_it_is_refused(keys, told):
    with pytest.raises(ConfigError, match=told):
        resolve(Layer("here", {"training.max_steps": 1, **keys}))
