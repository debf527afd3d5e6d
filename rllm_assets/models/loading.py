"""Loading a base model and its tokenizer."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rllm_assets.config import ModelConfig
from rllm_assets.models.attention import IMPLEMENTATION, Group, Layout, PackedLayout
from rllm_assets.models.embedded import ModelError
from rllm_assets.models.found import BaseModel
from rllm_assets.models.memory import QUANTIZED_BYTES, check_fits, count_weights


def load_tokenizer(base: BaseModel) -> PreTrainedTokenizerBase:
    """Load the tokenizer.

    Raises:
        ModelError: where there is none, or it has no chat template.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.directory)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the tokenizer of {base.name} does not load: {' '.join(str(error).split())[:300]}") from None
    if not tokenizer.chat_template:
        raise ModelError(f"{base.name} has no chat template; use an instruction-tuned model")
    return tokenizer


def prompt_limit(base: BaseModel, config: ModelConfig) -> int:
    """Return how many tokens a prompt may have: `max_prompt_tokens`, or what the responses leave of the model's context.

    Raises:
        ModelError: where they leave nothing.
    """
    context = int(AutoConfig.from_pretrained(base.directory).get_text_config().max_position_embeddings)
    if config.max_response_tokens >= context:
        raise ModelError(
            f"model.max_response_tokens {config.max_response_tokens} leaves no room for a prompt in the context of "
            f"{base.name}, which is {context} tokens"
        )
    return min(config.max_prompt_tokens, context - config.max_response_tokens)


def load_model(
    base: BaseModel, dtype: torch.dtype, device: torch.device, quantization: str = "none"
) -> PreTrainedModel:
    """Load the weights, frozen and in evaluation mode, with our packed attention.

    Args:
        base: the model.
        dtype: of the weights; of the products, where the weights are quantized.
        device: where to.
        quantization: ``nf4`` for linear layers in 4 bits, with quantized scales (QLoRA, arXiv 2305.14314).

    Raises:
        ModelError: where it does not fit, does not load, or is of a kind that packed attention would compute wrongly.
    """
    bytes_per_weight = dtype.itemsize if quantization == "none" else QUANTIZED_BYTES
    check_fits(base.name, count_weights(base.directory), bytes_per_weight, device)
    quantized = {} if quantization == "none" else _in_four_bits(dtype, device)
    try:
        config = AutoConfig.from_pretrained(base.directory)
        model = AutoModelForCausalLM.from_pretrained(
            base.directory,
            config=config,
            dtype=dtype,
            attn_implementation="sdpa",
            **quantized,
        )
    # Model code raises whatever it likes on broken files; every such failure means the same to the caller.
    except Exception as error:  # noqa: BLE001
        raise ModelError(
            f"{base.name} does not load from {base.directory}: {' '.join(str(error).split())[:400]}"
        ) from None
    for layer in model.modules():
        # Otherwise bitsandbytes lays the weights out anew when they are first used, and nobody else can read them any more.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False  # pyright: ignore[reportArgumentType]
    model.requires_grad_(False).eval()
    if quantization == "none":
        nn.Module.to(model, device)
    _check_packed_attention(model, base.name)
    return model


def _in_four_bits(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    if find_spec("bitsandbytes") is None:
        raise ModelError("model.quantization nf4 needs bitsandbytes; pip install 'rllm_assets[quantized]'")
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def final_hidden(model: PreTrainedModel, token_ids: Tensor, layout: Layout) -> Tensor:
    """Return the last hidden states of packed tokens, N × width."""
    backbone = model.get_decoder()
    output = backbone(input_ids=token_ids[None], position_ids=layout.position_ids[None], use_cache=False, layout=layout)
    return output.last_hidden_state[0]


def head_weight(model: PreTrainedModel) -> Tensor:
    """Return the matrix that turns hidden states into logits, vocabulary × width."""
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Linear)
    return head.weight


def _check_packed_attention(model: PreTrainedModel, name: str) -> None:
    """Compare a few logits with the model's own, so that an architecture with a twist is refused and not computed wrongly."""
    device = next(model.parameters()).device
    # From all over the vocabulary: the first ones are often markers that no text has, on which bfloat16 says anything.
    tokens = torch.arange(1, 7, device=device) * 977 % model.config.get_text_config().vocab_size
    with torch.no_grad():
        theirs = model(input_ids=tokens[None], use_cache=False).logits[0].float()
        model.set_attn_implementation(IMPLEMENTATION)
        layout = PackedLayout([Group(4, ((0, 1),))], device)
        try:
            ours = (final_hidden(model, tokens, layout) @ head_weight(model).T).float()
        except (AttributeError, TypeError, AssertionError) as error:
            raise ModelError(f"{name}: this architecture does not take packed attention ({error})") from None
    tolerance = 1e-3 if theirs.dtype == torch.float32 and model.dtype == torch.float32 else 0.1
    if not torch.allclose(ours, theirs, atol=tolerance * float(theirs.abs().max()), rtol=0):
        raise ModelError(f"{name}: this architecture's logits differ under packed attention; it is not supported")
