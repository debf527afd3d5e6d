"""vLLM as the sampler: it keeps the base, and after each step it is given the adapter alone.

Probabilities are those after the temperature, and of all tokens, so that they are the trainer's but for arithmetic; the
importance weights correct what is left of a difference.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rllm_assets.models.embedded import ModelError
from rllm_assets.models.hardware import resolve_dtype
from rllm_assets.models.policy import Policy
from rllm_assets.models.sampler import Sample
from rllm_assets.models.stopping import Stopping, StopRule, answer_seed
from rllm_assets.models.vllm_ranks import VLLM_RANKS, rank_for


class VLLMSampler:
    """Samples from a policy, or from its base, by a vLLM engine of this process (vLLM 0.24 to 0.26)."""

    def __init__(self, policy: Policy) -> None:
        """Start the engine.

        Raises:
            ModelError: where the rank of the LoRA is beyond what vLLM has kernels for.
        """
        import vllm  # pyright: ignore[reportMissingImports]

        config = policy.config
        rank = rank_for(config.lora_rank)
        if rank is None:
            raise ModelError(
                f"model.lora_rank {config.lora_rank} is beyond {VLLM_RANKS[-1]}, the largest that vLLM samples with"
            )
        self._policy = policy
        self._tokenizer = policy.tokenizer
        self._stopping = Stopping(self._tokenizer)
        self._directory = tempfile.TemporaryDirectory(prefix="rllm-adapter-")
        self._version = 0
        self._adapter: Any = None
        self._engine = vllm.LLM(
            model=str(policy.base.directory),
            dtype=str(resolve_dtype(config.sampler_dtype, policy.device)).removeprefix("torch."),
            max_model_len=policy.prompt_limit + config.max_response_tokens,
            gpu_memory_utilization=config.sampler_memory,
            enable_lora=True,
            max_loras=1,
            max_lora_rank=rank,
            # Prompts of a group are read once.
            enable_prefix_caching=True,
            # Those that were drawn from: after the temperature. vLLM's default is before.
            logprobs_mode="processed_logprobs",
        )

    def refresh(self) -> None:
        """Write the adapter where the engine reads it with the next request."""
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

        # A version of its own each time: under the old number the engine would go on with the adapter, and with keys and values
        # of prompts, that it knows by that number.
        old, self._version = self._path(), self._version + 1
        self._policy.save_adapter(self._path())
        self._adapter = LoRARequest(
            lora_name=f"policy-{self._version}", lora_int_id=self._version, lora_path=str(self._path())
        )
        if old.exists():
            for file in old.iterdir():
                file.unlink()
            old.rmdir()

    def _path(self) -> Path:
        return Path(self._directory.name) / str(self._version)

    def use_base(self) -> None:
        """Ask without an adapter from now on."""
        self._adapter = None

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
        """Sample answers to each prompt, as `rllm_assets.models.sampler.Sampler.sample` says.

        The engine asks nobody whether an answer is complete, so what it says after that is cut off again.
        """
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        if not prompts:
            return []
        temperatures = [temperature] * samples if isinstance(temperature, int | float) else list(temperature)
        asked = [
            SamplingParams(
                temperature=each,
                top_p=1.0,
                top_k=0,
                seed=answer_seed(seed, number),
                max_tokens=max_tokens,
                logprobs=0,
                stop_token_ids=sorted(self._policy.eos_ids),
                detokenize=False,
            )
            for seed in seeds
            for number, each in enumerate(temperatures)
        ]
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts for _ in range(samples)]
        outputs = self._engine.generate(inputs, asked, lora_request=self._adapter, use_tqdm=False)
        answers = [self._answer(output.outputs[0], stop) for output in outputs]
        if progress is not None:
            progress(len(answers))
        return [answers[start : start + samples] for start in range(0, len(answers), samples)]

    def _answer(self, output: Any, stop: StopRule | None) -> Sample:
        tokens = list(output.token_ids)
        logprobs = [float(at[token].logprob) for token, at in zip(tokens, output.logprobs, strict=True)]
        end = self._stopping.end(tokens, stop)
        finished = end is not None or (bool(tokens) and tokens[-1] in self._policy.eos_ids)
        tokens, logprobs = tokens[:end], logprobs[:end]
        text = str(self._tokenizer.decode(tokens, skip_special_tokens=True))
        return Sample(tokens, logprobs, text, finished)
