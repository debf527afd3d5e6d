"""The policy: one frozen base, a LoRA that learns, and a critic that shares the base."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rllm_assets.config import ModelConfig
from rllm_assets.models.embedded import ModelError
from rllm_assets.models.found import BaseModel, find_model
from rllm_assets.models.fused_layers import fuse_layers
from rllm_assets.models.hardware import default_device, keep_freed_memory, resolve_dtype
from rllm_assets.models.head import token_logprobs
from rllm_assets.models.loading import final_hidden, head_weight, load_model, load_tokenizer, prompt_limit
from rllm_assets.models.lora import LoraWeights, fuse_lora_layers, lora_weights
from rllm_assets.models.memory import check_policy_fits
from rllm_assets.models.packing import Packed

POLICY = "default"
CRITIC = "critic"


class Policy:
    """A LoRA policy over a frozen base; the reference is the same model with the adapter off.

    Attributes:
        base: which base model this is.
        tokenizer: its tokenizer.
        prompt_limit: tokens that a prompt may have.
        critic_head: the value head, where there is a critic: fp32 and zero at first, so that values start at 0.
    """

    def __init__(
        self, config: ModelConfig, *, critic: bool = False, seed: int = 0, device: torch.device | None = None
    ) -> None:
        """Load the base and put a fresh LoRA on it, whose product is zero.

        Raises:
            ModelError: where the base and the sampler's copy do not fit, it does not load, or `lora_targets` match no layer.
        """
        self.device = device or default_device()
        if self.device.type == "cpu":
            keep_freed_memory()
        self.config = config
        check_policy_fits(config, self.device)
        self.base: BaseModel = find_model(config.name)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(self.base)
        self.prompt_limit = prompt_limit(self.base, config)
        dtype = resolve_dtype(config.dtype, self.device)
        model = load_model(self.base, dtype, self.device, config.quantization)
        width = model.config.get_text_config().hidden_size
        torch.manual_seed(seed)
        try:
            self._peft: PeftModel = get_peft_model(model, self._lora_config(), autocast_adapter_dtype=True)  # pyright: ignore[reportAttributeAccessIssue]
        except ValueError as error:
            raise ModelError(f"model.lora_targets: {' '.join(str(error).split())[:300]}") from None
        self.critic_head: nn.Linear | None = None
        if critic:
            self._peft.add_adapter(CRITIC, self._lora_config())
            self.critic_head = nn.Linear(width, 1, device=self.device)
            nn.init.zeros_(self.critic_head.weight)
            nn.init.zeros_(self.critic_head.bias)
        for weights in (*lora_weights(self._peft, POLICY), *lora_weights(self._peft, CRITIC)):
            weights.lora_a.data = weights.lora_a.data.float()
            weights.lora_b.data = weights.lora_b.data.float()
            weights.lora_a.requires_grad_(True)
            weights.lora_b.requires_grad_(True)
        fuse_lora_layers(self._peft)
        fuse_layers(model)
        self._model = cast(PreTrainedModel, self._peft.get_base_model())
        self._peft.eval()

    def _lora_config(self) -> LoraConfig:
        targets = self.config.lora_targets
        return LoraConfig(
            r=self.config.lora_rank,
            lora_alpha=self.config.lora_alpha,  # pyright: ignore[reportArgumentType]
            target_modules=targets if isinstance(targets, str) else list(targets),
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
        )

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every token that ends a response."""
        ids = self._model.generation_config.eos_token_id if self._model.generation_config else None
        listed = ids if isinstance(ids, list) else [ids]
        return frozenset(i for i in (*listed, self.tokenizer.eos_token_id) if isinstance(i, int))

    def policy_parameters(self) -> list[nn.Parameter]:
        """Return what the policy's optimizer moves, in a fixed order."""
        return [p for w in lora_weights(self._peft, POLICY) for p in (w.lora_a, w.lora_b)]  # pyright: ignore[reportReturnType]

    def critic_parameters(self) -> list[nn.Parameter]:
        """Return what the critic's optimizer moves, in a fixed order."""
        if self.critic_head is None:
            return []
        adapter = [p for w in lora_weights(self._peft, CRITIC) for p in (w.lora_a, w.lora_b)]
        return [*adapter, *self.critic_head.parameters()]  # pyright: ignore[reportReturnType]

    def lora_weights(self) -> Iterator[LoraWeights]:
        """Yield the adapted layers of the policy."""
        return lora_weights(self._model, POLICY)

    def base_weight(self, name: str) -> Tensor:
        """Return the weight of a layer of the base, by the name that `lora_weights` would give it."""
        return dequantize_module_weight(self._model.get_submodule(name))

    def logprobs(self, packed: Packed, temperature: float) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy of each response token of a packed batch, fp32."""
        hidden = final_hidden(self._model, packed.token_ids, packed.layout)
        read = hidden[packed.readers]
        return token_logprobs(read, head_weight(self._model), packed.targets, temperature, packed.reader_of)

    def values(self, packed: Packed) -> Tensor:
        """Return the critic's value before each response token, fp32."""
        assert self.critic_head is not None, "this policy has no critic"
        with self._adapter(CRITIC):
            hidden = final_hidden(self._model, packed.token_ids, packed.layout)
        return self.critic_head(hidden[packed.readers].float())[packed.reader_of, 0]

    @contextlib.contextmanager
    def _adapter(self, name: str) -> Iterator[None]:
        for layer in _lora_layers(self._peft):
            layer._active_adapter = [name]
        try:
            yield
        finally:
            for layer in _lora_layers(self._peft):
                layer._active_adapter = [POLICY]

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        """Switch the adapter off: inside, `logprobs` are the base model's."""
        for layer in _lora_layers(self._peft):
            layer._disable_adapters = True
        try:
            yield
        finally:
            for layer in _lora_layers(self._peft):
                layer._disable_adapters = False

    def save_adapter(self, directory: Path) -> None:
        """Write the LoRA as PEFT does: adapter_config.json and adapter_model.safetensors, without any base weights."""
        directory.mkdir(parents=True, exist_ok=True)
        state = {
            k: v.detach().cpu().contiguous()
            for k, v in get_peft_model_state_dict(self._peft, adapter_name=POLICY).items()
        }
        save_file(state, directory / "adapter_model.safetensors", metadata={"format": "pt"})
        config = self._peft.peft_config[POLICY].to_dict()
        # The base is named by the user's name for it, never by this machine's path.
        config.update(base_model_name_or_path=self.base.name, inference_mode=True)
        config["target_modules"] = sorted(config["target_modules"])
        (directory / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True, default=str) + "\n")

    def load_adapter(self, directory: Path) -> None:
        """Load a LoRA that `save_adapter` wrote.

        Raises:
            ModelError: where the file is missing or damaged, or belongs to another base, rank or set of layers.
        """
        self._load(POLICY, directory / "adapter_model.safetensors")

    def save_critic(self, path: Path) -> None:
        """Write the critic's adapter and head."""
        assert self.critic_head is not None
        state = dict(get_peft_model_state_dict(self._peft, adapter_name=CRITIC))
        state |= {f"critic_head.{k}": v for k, v in self.critic_head.state_dict().items()}
        save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, path)

    def load_critic(self, path: Path) -> None:
        """Load what `save_critic` wrote."""
        assert self.critic_head is not None
        state = self._load(CRITIC, path)
        self.critic_head.load_state_dict(
            {k.removeprefix("critic_head."): v for k, v in state.items() if k.startswith("critic_head.")}
        )

    def _load(self, adapter: str, path: Path) -> dict[str, Tensor]:
        try:
            state = load_file(path, device=str(self.device))
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"the adapter {path} does not load: {error}") from None
        # safetensors has an exception of its own, which is no ValueError.
        except Exception as error:  # noqa: BLE001
            raise ModelError(f"the adapter {path} is damaged: {error}") from None
        expected = {k: v.shape for k, v in get_peft_model_state_dict(self._peft, adapter_name=adapter).items()}
        found = {k: v.shape for k, v in state.items() if not k.startswith("critic_head.")}
        if found != expected:
            odd = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))[0]
            raise ModelError(
                f"the adapter {path} does not fit {self.base.name} with lora_rank {self.config.lora_rank}: "
                f"{odd} is {tuple(found.get(odd, ()))}, expected {tuple(expected.get(odd, ()))}"
            )
        set_peft_model_state_dict(self._peft, {k: v for k, v in state.items() if k in expected}, adapter_name=adapter)
        return state


def _lora_layers(model: nn.Module) -> Iterator["_Switchable"]:
    from peft.tuners.lora.layer import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            yield layer  # pyright: ignore[reportReturnType]


class _Switchable:
    # PEFT's own switches also toggle requires_grad, which would take the other adapter's parameters from its optimizer.
    _active_adapter: list[str]
    _disable_adapters: bool
