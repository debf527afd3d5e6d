"""Prompts as tokens: for each answer format and kind of template, what is rendered, once, with one BOS or none."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from rllm_assets.data.answers import ANSWER_FORMATS
from rllm_assets.rollouts import PromptTooLongError, prompt_tokens
from rllm_assets.rollouts.episodes import observation_tokens
from tests.rollouts.test_episodes import an_issue

TEMPLATES = {
    # As ChatML: no BOS.
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    # As Llama 3: the template writes the BOS that the tokenizer would add again.
    "llama": "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|stop|>\n\n{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|stop|>\n\n{% endif %}",
    # As Gemma: no system message, and the assistant is called otherwise.
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}<|turn|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|turn|>model\n{% endif %}",
    # As DeepSeek-R1: an answer begins with a thought.
    "deepseek": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}<|User|>{{ m['content'] }}{% else %}<|Assistant|>{{ m['content'] }}<|eos|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}",
}
# What is written by hand where the templates write it: before a system message, a user's, and an answer.
BY_HAND = {
    "chatml": lambda system, user: (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama": lambda system, user: (
        f"<|bos|><|start|>system<|stop|>\n\n{system}<|eot|><|start|>user<|stop|>\n\n{user}<|eot|>"
        "<|start|>assistant<|stop|>\n\n"
    ),
    "gemma": lambda system, user: f"<|bos|><|turn|>user\n{system}\n\n{user}<|end|>\n<|turn|>model\n",
    "deepseek": lambda system, user: f"<|bos|>{system}<|User|>{user}<|Assistant|><think>\n",
}
BETWEEN = {
    "chatml": "<|im_end|>\n<|im_start|>user\nseen<|im_end|>\n<|im_start|>assistant\n",
    "llama": "<|eot|><|start|>user<|stop|>\n\nseen<|eot|><|start|>assistant<|stop|>\n\n",
    "gemma": "<|end|>\n<|turn|>user\nseen<|end|>\n<|turn|>model\n",
    "deepseek": "<|eos|><|User|>seen<|Assistant|><think>\n",
}
ENDS = {"chatml": "<|im_end|>", "llama": "<|eot|>", "gemma": "<|end|>", "deepseek": "<|eos|>"}
SPECIAL = [
    *("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>", "<|start|>", "<|stop|>", "<|eot|>", "<|turn|>", "<|end|>"),
    *("<|User|>", "<|Assistant|>"),
]


def tokenizer_of(name):
    """A byte tokenizer that adds a BOS to every text, as Llama's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|bos|>", eos_token=ENDS[name])
    made.add_special_tokens({"additional_special_tokens": SPECIAL})
    made.chat_template = TEMPLATES[name]
    assert made("x")["input_ids"][0] == made.bos_token_id
    return made


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
def test_a_prompt_is_what_the_template_writes_with_one_bos(answer_format, template):
    tokenizer = tokenizer_of(template)
    system, user = ANSWER_FORMATS[answer_format].prompt(an_issue())
    assert (system["role"], user["role"]) == ("system", "user")
    ids = prompt_tokens(tokenizer, [system, user], 10_000)
    assert tokenizer.decode(ids) == BY_HAND[template](system["content"], user["content"].strip())
    assert ids.count(tokenizer.bos_token_id) == (0 if template == "chatml" else 1)
    with pytest.raises(PromptTooLongError, match=f"i has {len(ids)} prompt tokens, more than the"):
        prompt_tokens(tokenizer, [system, user], len(ids) - 1, "i")


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_observation_is_what_the_template_writes_without_a_bos(template):
    tokenizer = tokenizer_of(template)
    end = tokenizer.convert_tokens_to_ids(ENDS[template])
    ids = observation_tokens(tokenizer, "seen", None)
    assert tokenizer.decode(ids) == BETWEEN[template]
    assert tokenizer.bos_token_id not in ids
    # A token that ended the answer stands there already.
    assert observation_tokens(tokenizer, "seen", end) == ids[1:]
