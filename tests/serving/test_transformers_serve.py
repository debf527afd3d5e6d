"""The real server: LoRAs on a tiny random Llama, deployed from a terminal that is closed, swapped, and failed."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from rllm_assets.config.schema import ServingConfig
from rllm_assets.serving import (
    ChatMessage,
    Endpoint,
    Servable,
    ServingError,
    curl_command,
    deploy,
    endpoint_status,
    stop_endpoint,
)

pytestmark = pytest.mark.slow

RANK = 4
TOKENS = 12
MESSAGES: list[ChatMessage] = [{"role": "user", "content": "w3 w1 w4 w1 w5"}]


def make_tokenizer(directory: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *(f"w{index}" for index in range(61))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    fast.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    fast.save_pretrained(directory)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Servable]:
    """Return two LoRAs, a and b, on one base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    directory = tmp_path_factory.mktemp("checkpoints")
    base = directory / "base"
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        # Weights large enough for the answers to depend on the prompt.
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(base)
    make_tokenizer(base)
    servables: dict[str, Servable] = {}
    for seed, name in enumerate(("a", "b"), start=1):
        torch.manual_seed(seed)
        lora = LoraConfig(r=RANK, lora_alpha=8, target_modules="all-linear")
        model = get_peft_model(LlamaForCausalLM.from_pretrained(base), lora)
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(str(directory / name))
        servables[name] = Servable(
            base_model_dir=base,
            adapter_dir=directory / name,
            base_model_name="tiny",
            checkpoint_hash=name * 8,
            lora_rank=RANK,
            lineage={"issues": [name]},
        )
    return servables


def greedy(servable: Servable, with_adapter: bool = True) -> str:
    """Return what PEFT itself says, greedily."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(servable.base_model_dir)
    model = AutoModelForCausalLM.from_pretrained(servable.base_model_dir)
    if with_adapter:
        model = PeftModel.from_pretrained(model, servable.adapter_dir)
    prompt = tokenizer.apply_chat_template(MESSAGES, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        output = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


def ask(endpoint: Endpoint, temperature: float = 0, seed: int = 0) -> str:
    client = openai.OpenAI(base_url=endpoint.url, api_key="none", max_retries=0)
    completion = client.chat.completions.create(
        model=endpoint.model,
        messages=[{"role": "user", "content": MESSAGES[0]["content"]}],
        max_tokens=TOKENS,
        temperature=temperature,
        seed=seed,
    )
    return completion.choices[0].message.content or ""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("endpoints")
    yield root
    stop_endpoint(root, "rllm")


@pytest.fixture(scope="module")
def first(checkpoints: dict[str, Servable], root: Path) -> Endpoint:
    """Return the endpoint of checkpoint a, deployed from a terminal that has since been closed."""
    file = root / "servable.json"
    file.write_text(checkpoints["a"].model_dump_json())
    terminal, inside = pty.openpty()
    command = [sys.executable, str(Path(__file__).with_name("deployer.py")), str(file), str(root), "transformers"]
    with subprocess.Popen(
        command,
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=inside,
        start_new_session=True,
    ) as deployer:
        os.close(inside)
        assert deployer.stdout is not None
        line = deployer.stdout.readline()
        os.close(terminal)
        try:
            assert deployer.wait(timeout=60) == -signal.SIGHUP
        finally:
            deployer.kill()
    return Endpoint.model_validate_json(line)


def test_the_endpoint_outlives_the_terminal_it_was_deployed_from(first: Endpoint, root: Path) -> None:
    assert endpoint_status(root, "rllm").state == "serving"
    assert endpoint_status(root, "rllm").endpoint == first


def test_it_answers_as_peft_does_and_not_as_the_base(first: Endpoint, checkpoints: dict[str, Servable]) -> None:
    expected = greedy(checkpoints["a"])
    assert expected != greedy(checkpoints["a"], with_adapter=False)
    assert ask(first) == expected


def test_it_lists_the_one_model_that_it_serves(first: Endpoint) -> None:
    client = openai.OpenAI(base_url=first.url, api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["rllm"]


def test_a_request_chooses_its_temperature(first: Endpoint) -> None:
    samples = {ask(first, temperature=2.0, seed=seed) for seed in range(4)}
    assert len(samples) > 1
    assert ask(first, temperature=2.0, seed=0) == ask(first, temperature=2.0, seed=0)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_command_works(first: Endpoint, checkpoints: dict[str, Servable]) -> None:
    answer = subprocess.run(curl_command(first, MESSAGES, TOKENS), shell=True, check=True, capture_output=True).stdout
    assert json.loads(answer)["choices"][0]["message"]["content"] == greedy(checkpoints["a"])


@pytest.mark.long
def test_the_next_checkpoint_takes_its_place_and_a_broken_one_does_not(
    first: Endpoint, checkpoints: dict[str, Servable], root: Path, tmp_path: Path
) -> None:
    config = ServingConfig(name="rllm", timeout_seconds=180)
    second = deploy(checkpoints["b"], config, root, MESSAGES)
    assert second.url == first.url
    expected = greedy(checkpoints["b"])
    assert expected != greedy(checkpoints["a"])
    assert ask(second) == expected

    broken = tmp_path / "base"
    shutil.copytree(checkpoints["a"].base_model_dir, broken)
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(settings | {"model_type": "abacus", "architectures": ["Abacus"]}))
    with pytest.raises(
        ServingError, match=r"it keeps serving checkpoint bbbbbbbb: the server ended at its start"
    ) as caught:
        deploy(checkpoints["a"].model_copy(update={"base_model_dir": broken}), config, root, MESSAGES)
    assert "abacus" in str(caught.value)
    assert ask(second) == expected
