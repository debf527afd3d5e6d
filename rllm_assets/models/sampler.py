"""The sampler: a merged copy of the policy that answers many prompts at once and remembers how probable each token was.

The prompt of a group is read once, answers that agree so far are computed once, and finished answers leave the batch.
Randomness belongs to the answer, not to the batch: the same seed gives the same answers whatever is sampled beside them.

Shape suffixes: B branches of answers that agree so far, R answers in the batch, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rllm_assets.models.attention import Group, Layout, PackedLayout
from rllm_assets.models.branches import Branches
from rllm_assets.models.decoder import Decoder
from rllm_assets.models.fused_layers import is_llama_like
from rllm_assets.models.hardware import resolve_dtype
from rllm_assets.models.loading import final_hidden, head_weight, load_model
from rllm_assets.models.lora import LoraWeights
from rllm_assets.models.packed_linear import PackedLinear
from rllm_assets.models.policy import Policy
from rllm_assets.models.shared_products import SharedProduct, share_products
from rllm_assets.models.stopping import Stopping, StopRule

# Answers decoded at once: enough rows for efficient matrix products, few enough for memory.
MAX_ROWS = 256

# Entries of the vocabulary that are summed up before one is looked for.
BLOCK = 256


@dataclass(frozen=True)
class Sample:
    """One sampled answer; `finished` means that it ended by itself, not at the length limit.

    Of an answer in several turns, `given` says which tokens are observations; `logprobs` has one number for each of the others.
    An answer that came as text alone has no tokens, and `tokens` says how many there were. Where none came, `failure` says why.
    """

    token_ids: list[int]
    logprobs: list[float]
    text: str
    finished: bool
    given: tuple[bool, ...] | None = None
    tokens: int | None = None
    failure: str = ""

    @property
    def length(self) -> int:
        """How many tokens were sampled."""
        return len(self.logprobs) if self.tokens is None else self.tokens


class Sampler:
    """Samples from a policy, or from its base."""

    def __init__(self, policy: Policy) -> None:
        """Copy the base's weights in the sampler's dtype."""
        self._policy = policy
        self._dtype = resolve_dtype(policy.config.sampler_dtype, policy.device)
        model = load_model(policy.base, self._dtype, policy.device)
        self._tokenizer = policy.tokenizer
        self._head = PackedLinear(head_weight(model))
        self._products: list[SharedProduct]
        self._hidden: Callable[[Tensor, Layout], Tensor]
        if is_llama_like(model):
            decoder = Decoder(model)
            self._products, self._hidden = decoder.products, decoder.hidden
        else:
            self._hidden = partial(final_hidden, model)
            layout = PackedLayout([Group(4, ())], policy.device)
            self._products = share_products(
                model,
                [layer.name for layer in policy.lora_weights()],
                lambda: self._hidden(torch.arange(4, device=policy.device), layout),
            )
        self._stopping = Stopping(self._tokenizer)

    def refresh(self) -> None:
        """Write the policy's current weights, ``W + s B A``, into the copy; never unmerged, so nothing drifts."""
        self._write(lambda layer: torch.addmm(layer.weight.float(), layer.lora_b, layer.lora_a, alpha=layer.scale))

    def use_base(self) -> None:
        """Write the base's weights into the copy."""
        self._write(lambda layer: layer.weight)

    @torch.no_grad()
    def _write(self, weight_of: Callable[[LoraWeights], Tensor]) -> None:
        adapted = {layer.name: layer for layer in self._policy.lora_weights()}
        for product in self._products:
            if not adapted.keys().isdisjoint(product.names):
                product.write(
                    [
                        weight_of(adapted[name]) if name in adapted else self._policy.base_weight(name)
                        for name in product.names
                    ]
                )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of last hidden states, in fp32."""
        return self._head(hidden).float()

    @torch.no_grad()
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
        """Sample `samples` answers to each prompt.

        Args:
            prompts: token ids of each prompt.
            samples: answers a prompt.
            temperature: of sampling, one for all or one for each of the `samples` answers; 0 takes the most probable token.
                There is no top-k or top-p: their log-probabilities would not be the trainer's.
            max_tokens: length limit of an answer.
            seeds: one a prompt; it alone decides that prompt's answers, whatever else is sampled beside it.
            stop: given the text so far, tells whether the answer is complete; asked when a token with a backtick comes.
            progress: called with the number of answers finished since the last call.

        Returns:
            For each prompt its answers, in order.
        """
        if not prompts:
            return []
        shape = (samples, max_tokens)
        temperatures = [temperature] * samples if isinstance(temperature, int | float) else list(temperature)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        uniforms = torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in generators])
        # Prompts of like length share a wave, so that little of it is padding.
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        per_wave = max(1, MAX_ROWS // samples)
        answers: dict[int, list[Sample]] = {}
        for start in range(0, len(order), per_wave):
            wave = order[start : start + per_wave]
            drawn = _Wave(self, [prompts[i] for i in wave], uniforms[wave], temperatures, stop).run()
            answers.update(zip(wave, drawn, strict=True))
            if progress is not None:
                progress(len(wave) * samples)
        return [answers[i] for i in range(len(prompts))]


class _Wave:
    """Groups of answers that are decoded side by side."""

    def __init__(
        self,
        sampler: Sampler,
        prompts: list[Sequence[int]],
        uniforms: Tensor,
        temperatures: Sequence[float],
        stop: StopRule | None,
    ) -> None:
        self._sampler = sampler
        self._device = sampler._policy.device
        self._prompts = prompts
        self._samples, self._max_tokens = uniforms.shape[1], uniforms.shape[2]
        self._stop = stop
        rows = len(prompts) * self._samples
        self._uniforms = uniforms.reshape(rows, self._max_tokens).to(self._device)
        self._temperatures = [temperatures[row % self._samples] for row in range(rows)]
        self._tokens: list[list[int]] = [[] for _ in range(rows)]
        self._logprobs: list[list[float]] = [[] for _ in range(rows)]
        self._finished = [False] * rows

    def run(self) -> list[list[Sample]]:
        device = self._device
        branches = Branches(self._prompts, device)
        hidden = self._sampler._hidden(branches.prompt_ids, branches)
        logits = self._sampler.logits(hidden[branches.last_positions])
        branch_of = {row: row // self._samples for row in range(len(self._tokens))}
        branches.start(self._samples)
        for position in range(self._max_tokens):
            chosen = self._advance(logits, branch_of, position)
            if not chosen or position + 1 == self._max_tokens:
                break
            placed = branches.grow(list(dict.fromkeys(chosen.values())))
            branch_of = {row: placed[child] for row, child in chosen.items()}
            token_of = {place: token for (_, token), place in placed.items()}
            last = torch.tensor([token_of[place] for place in range(len(placed))], device=device)
            logits = self._sampler.logits(self._sampler._hidden(last, branches))
        return self._collect()

    def _advance(self, logits_BV: Tensor, branch_of: dict[int, int], position: int) -> dict[int, tuple[int, int]]:
        """Draw the next token of each answer; return (branch, token) of the answers that go on."""
        going: dict[int, tuple[int, int]] = {}
        for temperature in sorted({self._temperatures[row] for row in branch_of}):
            rows = [row for row in branch_of if self._temperatures[row] == temperature]
            branch_R = torch.tensor([branch_of[row] for row in rows], device=self._device)
            chosen, logprobs = _draw(logits_BV, branch_R, self._uniforms[rows, position], temperature)
            for row, token, logprob in zip(rows, chosen.tolist(), logprobs.tolist(), strict=True):
                self._tokens[row].append(token)
                self._logprobs[row].append(logprob)
                is_complete = self._sampler._stopping.is_complete(self._tokens[row], self._stop)
                if is_complete or token in self._sampler._policy.eos_ids:
                    self._finished[row] = True
                else:
                    going[row] = (branch_of[row], token)
        return going

    def _collect(self) -> list[list[Sample]]:
        texts = self._sampler._tokenizer.batch_decode(self._tokens, skip_special_tokens=True)
        samples = [
            Sample(tokens, logprobs, text, finished)
            for tokens, logprobs, text, finished in zip(
                self._tokens, self._logprobs, texts, self._finished, strict=True
            )
        ]
        return [samples[i : i + self._samples] for i in range(0, len(samples), self._samples)]


def _draw(logits_BV: Tensor, branch_R: Tensor, uniform_R: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw each answer's token, by inverting its branch's distribution at one uniform number, with its log-probability.

    The vocabulary is cut into blocks: first a block is found, then a token of it, so that only sums of blocks are cumulated.
    """
    if temperature == 0:
        best_B = logits_BV.argmax(-1)
        logprob_B = logits_BV.log_softmax(-1).gather(1, best_B[:, None])[:, 0]
        return best_B[branch_R], logprob_B[branch_R]
    mass_BV = (logits_BV if temperature == 1 else logits_BV / temperature).softmax(-1)
    cut = mass_BV.shape[1] // BLOCK * BLOCK
    whole, rest = mass_BV[:, :cut].unflatten(1, (-1, BLOCK)).sum(-1), mass_BV[:, cut:].sum(-1, keepdim=True)
    cumulative_BJ = torch.cat([whole, rest], dim=1).double().cumsum(-1)
    cumulative_RJ = cumulative_BJ[branch_R]
    block_R, within_R = _invert(cumulative_RJ, uniform_R)
    entries_RE = block_R[:, None] * BLOCK + torch.arange(BLOCK, device=branch_R.device)
    is_entry = entries_RE < mass_BV.shape[1]
    mass_RE = mass_BV[branch_R[:, None], entries_RE.clamp(max=mass_BV.shape[1] - 1)].double() * is_entry
    entry_R, _ = _invert(mass_RE.cumsum(-1), within_R)
    chosen_R = block_R * BLOCK + entry_R
    return chosen_R, mass_BV[branch_R, chosen_R].log()


def _invert(cumulative_RJ: Tensor, uniform_R: Tensor) -> tuple[Tensor, Tensor]:
    """Return which part each uniform number falls into, and how far into it, again from 0 to 1."""
    # Below the end, however rounding goes, so that no part without mass is found.
    target_R = (uniform_R * cumulative_RJ[:, -1]).clamp(max=cumulative_RJ[:, -1] * (1 - 1e-12))
    found_R = torch.searchsorted(cumulative_RJ, target_R[:, None], right=True).clamp_(max=cumulative_RJ.shape[1] - 1)
    end_R = cumulative_RJ.gather(1, found_R)[:, 0]
    begin_R = cumulative_RJ.gather(1, (found_R - 1).clamp(min=0))[:, 0] * (found_R[:, 0] > 0)
    return found_R[:, 0], (target_R - begin_R) / (end_R - begin_R)
