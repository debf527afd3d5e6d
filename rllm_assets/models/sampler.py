"""The sampler: a merged copy of the policy that answers many prompts at once and remembers how probable each token was.

The prompt of a group is read once, its keys and values are shared by all answers to it, and finished answers leave the batch.
Randomness belongs to the answer, not to the batch: the same seed gives the same answers whatever is sampled beside them.

Shape suffixes as in `rllm_assets.models.attention`; B answers in the batch, T response positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rllm_assets.models.attention import Group, PackedLayout
from rllm_assets.models.hardware import resolve_dtype
from rllm_assets.models.loading import final_hidden, head_weight
from rllm_assets.models.policy import Policy

# Answers decoded at once: enough rows for efficient matrix products, few enough for memory.
MAX_ROWS = 256
# The batch is compacted when this share of its rows has finished.
COMPACT_SHARE = 0.15

StopRule = Callable[[str], bool]


@dataclass(frozen=True)
class Sample:
    """One sampled answer; `finished` means that it ended by itself, not at the length limit."""

    token_ids: list[int]
    logprobs: list[float]
    text: str
    finished: bool


class Sampler:
    """Samples from a policy, or from its base."""

    def __init__(self, policy: Policy) -> None:
        """Copy the base's weights in the sampler's dtype."""
        self._policy = policy
        self._dtype = resolve_dtype(policy.config.sampler_dtype, policy.device)
        self._model = _plain_copy(policy, self._dtype)
        self._tokenizer = policy.tokenizer
        self._weights = dict(self._model.named_parameters())
        vocabulary = self._tokenizer.get_vocab()
        self._has_backtick = {index for token, index in vocabulary.items() if "`" in token}

    def refresh(self) -> None:
        """Write the policy's current weights, ``W + s B A``, into the copy; never unmerged, so nothing drifts."""
        with torch.no_grad():
            for layer in self._policy.lora_weights():
                product = torch.addmm(layer.weight.float(), layer.lora_b, layer.lora_a, alpha=layer.scale)
                self._weights[f"{layer.name}.weight"].copy_(product)

    def use_base(self) -> None:
        """Write the base's weights into the copy."""
        with torch.no_grad():
            for layer in self._policy.lora_weights():
                self._weights[f"{layer.name}.weight"].copy_(layer.weight)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        samples: int,
        *,
        temperature: float,
        max_tokens: int,
        seeds: Sequence[int],
        stop: StopRule | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Sample]]:
        """Sample `samples` answers to each prompt.

        Args:
            prompts: token ids of each prompt.
            samples: answers a prompt.
            temperature: of sampling; 0 takes the most probable token. There is no top-k or top-p: their log-probabilities
                would not be the trainer's.
            max_tokens: length limit of an answer.
            seeds: one a prompt; it alone decides that prompt's answers, whatever else is sampled beside it.
            stop: given the text so far, tells whether the answer is complete; asked when a token with a backtick comes.
            progress: called with the number of answers finished since the last call.

        Returns:
            For each prompt its answers, in order.
        """
        shape = (samples, max_tokens)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        uniforms = torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in generators])
        # Prompts of like length share a wave, so that little of it is padding.
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        per_wave = max(1, MAX_ROWS // samples)
        answers: dict[int, list[Sample]] = {}
        for start in range(0, len(order), per_wave):
            wave = order[start : start + per_wave]
            drawn = _Wave(self, [prompts[i] for i in wave], uniforms[wave], temperature, stop).run()
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
        temperature: float,
        stop: StopRule | None,
    ) -> None:
        self._sampler = sampler
        self._device = sampler._policy.device
        self._prompts = prompts
        self._samples, self._max_tokens = uniforms.shape[1], uniforms.shape[2]
        self._temperature = temperature
        self._stop = stop
        rows = len(prompts) * self._samples
        self._uniforms = uniforms.reshape(rows, self._max_tokens).to(self._device)
        self._tokens: list[list[int]] = [[] for _ in range(rows)]
        self._logprobs: list[list[float]] = [[] for _ in range(rows)]
        self._finished = [False] * rows

    def run(self) -> list[list[Sample]]:
        model, device = self._sampler._model, self._device
        cache = _SharedPrefix(self._prompts, model.config, self._sampler._dtype, device)
        hidden = final_hidden(model, cache.prompt_ids, cache)  # pyright: ignore[reportArgumentType]
        logits = _logits(model, hidden[cache.last_positions]).repeat_interleave(self._samples, dim=0)
        alive = list(range(len(self._tokens)))
        cache.start(self._samples, self._max_tokens)
        for position in range(self._max_tokens):
            chosen, logprobs = _draw(logits, self._uniforms[alive, position], self._temperature)
            done = self._record(alive, chosen.tolist(), logprobs.tolist())
            keep = [index for index, row in enumerate(alive) if row not in done]
            if not keep or position + 1 == self._max_tokens:
                break
            # A finished row is dropped at once; its cached keys leave the memory at the next compaction.
            alive = [alive[index] for index in keep]
            cache.keep(keep)
            last = chosen[keep]
            logits = _logits(model, final_hidden(model, last, cache))  # pyright: ignore[reportArgumentType]
        return self._collect()

    def _record(self, alive: list[int], chosen: list[int], logprobs: list[float]) -> set[int]:
        done: set[int] = set()
        eos = self._sampler._policy.eos_ids
        for row, token, logprob in zip(alive, chosen, logprobs, strict=True):
            self._tokens[row].append(token)
            self._logprobs[row].append(logprob)
            if token in eos or self._is_complete(row, token):
                self._finished[row] = True
                done.add(row)
        return done

    def _is_complete(self, row: int, token: int) -> bool:
        if self._stop is None or token not in self._sampler._has_backtick:
            return False
        return self._stop(str(self._sampler._tokenizer.decode(self._tokens[row])))

    def _collect(self) -> list[list[Sample]]:
        texts = self._sampler._tokenizer.batch_decode(self._tokens, skip_special_tokens=True)
        samples = [
            Sample(tokens, logprobs, text, finished)
            for tokens, logprobs, text, finished in zip(
                self._tokens, self._logprobs, texts, self._finished, strict=True
            )
        ]
        return [samples[i : i + self._samples] for i in range(0, len(samples), self._samples)]


class _SharedPrefix:
    """Keys and values of the prompts, once a group, and of the answers, one row each; a `Layout` for both phases."""

    def __init__(self, prompts: list[Sequence[int]], config: object, dtype: torch.dtype, device: torch.device) -> None:
        lengths = [len(prompt) for prompt in prompts]
        self._device, self._dtype = device, dtype
        self._prefill: PackedLayout | None = PackedLayout([Group(length, ()) for length in lengths], device)
        self._lengths = torch.tensor(lengths, device=device)
        self.prompt_ids = torch.tensor([token for prompt in prompts for token in prompt], device=device)
        self.last_positions = self._lengths.cumsum(0) - 1
        longest = max(lengths)
        self._packed = torch.cat([torch.arange(n, device=device) + g * longest for g, n in enumerate(lengths)])
        self._longest = longest
        padding = torch.arange(longest, device=device)[None] >= self._lengths[:, None]
        self._padding_GP = torch.zeros((len(lengths), longest), dtype=dtype, device=device).masked_fill_(
            padding, float("-inf")
        )
        self._prefix: dict[int, tuple[Tensor, Tensor]] = {}
        self._suffix: dict[int, tuple[Tensor, Tensor]] = {}
        self._steps = 0

    @property
    def position_ids(self) -> Tensor:
        if self._prefill is not None:
            return self._prefill.position_ids
        return self._lengths[self._group_B] + self._steps

    def start(self, samples: int, max_tokens: int) -> None:
        """End the prefill: every group now has `samples` rows."""
        groups = len(self._lengths)
        self._prefill = None
        self._capacity = max_tokens
        self._group_B = torch.arange(groups, device=self._device).repeat_interleave(samples)
        self._slot_B = torch.arange(groups * samples, device=self._device)
        self._slots = groups * samples
        self._steps = -1
        self._arrange()

    def keep(self, rows: list[int]) -> None:
        """Leave only some of the rows and go on to the next position."""
        self._steps += 1
        if len(rows) == len(self._group_B):
            return
        index = torch.tensor(rows, device=self._device)
        self._group_B, self._slot_B = self._group_B[index], self._slot_B[index]
        if len(rows) <= (1 - COMPACT_SHARE) * self._slots:
            used = self._steps
            for layer, (k, v) in self._suffix.items():
                self._suffix[layer] = (self._compacted(k, used), self._compacted(v, used))
            self._slots = len(rows)
            self._slot_B = torch.arange(len(rows), device=self._device)
        self._arrange()

    def _compacted(self, cached: Tensor, used: int) -> Tensor:
        small = torch.empty((len(self._slot_B), *cached.shape[1:]), dtype=cached.dtype, device=cached.device)
        small[:, :, :used] = cached[self._slot_B, :, :used]
        return small

    def _arrange(self) -> None:
        """Lay the rows out as a grid of groups, so that one product serves all rows of a group."""
        counts = torch.bincount(self._group_B, minlength=len(self._lengths))
        self._present = counts.nonzero()[:, 0]
        rank = torch.full_like(counts, -1)
        rank[self._present] = torch.arange(len(self._present), device=self._device)
        first = counts.cumsum(0) - counts
        column = torch.arange(len(self._group_B), device=self._device) - first[self._group_B]
        self._width = int(counts.max())
        self._cell_B = rank[self._group_B] * self._width + column
        self._row_cells = torch.zeros(len(self._present) * self._width, dtype=torch.long, device=self._device)
        self._row_cells[self._cell_B] = torch.arange(len(self._group_B), device=self._device)
        self._all_present = len(self._present) == len(self._lengths)
        self._all_slots = len(self._slot_B) == self._slots

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scale: float) -> Tensor:
        if self._prefill is not None:
            self._prefix[layer] = (self._unpacked(k_KND), self._unpacked(v_KND))
            return self._prefill.attend(layer, q_HND, k_KND, v_KND, scale)
        return self._decode(layer, q_HND, k_KND, v_KND, scale)

    def _unpacked(self, x_KND: Tensor) -> Tensor:
        heads, _, size = x_KND.shape
        padded = x_KND.new_zeros((heads, len(self._lengths) * self._longest, size))
        padded[:, self._packed] = x_KND
        return padded.view(heads, len(self._lengths), self._longest, size).transpose(0, 1).contiguous()

    def _decode(self, layer: int, q_HBD: Tensor, k_KBD: Tensor, v_KBD: Tensor, scale: float) -> Tensor:
        kv_heads, rows, size = k_KBD.shape
        repeat = q_HBD.shape[0] // kv_heads
        if layer not in self._suffix:
            shape = (self._slots, kv_heads, self._capacity, size)
            self._suffix[layer] = (k_KBD.new_empty(shape), k_KBD.new_empty(shape))
        k_cache, v_cache = self._suffix[layer]
        k_cache[self._slot_B, :, self._steps] = k_KBD.transpose(0, 1)
        v_cache[self._slot_B, :, self._steps] = v_KBD.transpose(0, 1)
        used = self._steps + 1
        k_BKTD, v_BKTD = k_cache[:, :, :used], v_cache[:, :, :used]
        k_GKPD, v_GKPD = self._prefix[layer]
        padding_GP = self._padding_GP
        if not self._all_slots:
            k_BKTD, v_BKTD = k_BKTD[self._slot_B], v_BKTD[self._slot_B]
        if not self._all_present:
            k_GKPD, v_GKPD, padding_GP = k_GKPD[self._present], v_GKPD[self._present], padding_GP[self._present]

        q_BKRD = (q_HBD * scale).transpose(0, 1).reshape(rows, kv_heads, repeat, size)
        own_BKRT = q_BKRD @ k_BKTD.transpose(-1, -2)
        shared_BKRP = self._to_rows(
            self._to_grid(q_BKRD) @ k_GKPD.transpose(-1, -2) + padding_GP[:, None, None], repeat
        )
        weights = torch.cat([shared_BKRP, own_BKRT], dim=-1).softmax(-1)
        prompt = shared_BKRP.shape[-1]
        shared_BKRD = self._to_rows(self._to_grid(weights[..., :prompt]) @ v_GKPD, repeat)
        out_BKRD = shared_BKRD + weights[..., prompt:] @ v_BKTD
        return out_BKRD.reshape(rows, kv_heads * repeat, size)

    def _to_grid(self, x_BKRX: Tensor) -> Tensor:
        """Rows to G × K × (rows of the group · R) × X; missing rows repeat another and are dropped again."""
        _, heads, repeat, size = x_BKRX.shape
        cells = x_BKRX[self._row_cells].view(len(self._present), self._width, heads, repeat, size)
        return cells.transpose(1, 2).reshape(len(self._present), heads, self._width * repeat, size)

    def _to_rows(self, x_GKYX: Tensor, repeat: int) -> Tensor:
        groups, heads, _, size = x_GKYX.shape
        cells = x_GKYX.view(groups, heads, self._width, repeat, size).transpose(1, 2)
        return cells.reshape(groups * self._width, heads, repeat, size)[self._cell_B]


def _logits(model: torch.nn.Module, hidden: Tensor) -> Tensor:
    return (hidden @ head_weight(model).T).float()  # pyright: ignore[reportArgumentType]


def _draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw a token a row by inverting its distribution at one uniform number; return it with its log-probability."""
    if temperature == 0:
        chosen = logits_BV.argmax(-1)
        return chosen, logits_BV.gather(1, chosen[:, None])[:, 0] - logits_BV.logsumexp(-1)
    scaled = logits_BV.div_(temperature)
    normalizer = scaled.logsumexp(-1, keepdim=True)
    cumulative = (scaled - normalizer).exp_().cumsum(-1)
    target = uniform_B.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_(max=logits_BV.shape[1] - 1)
    return chosen, (scaled.gather(1, chosen[:, None]) - normalizer)[:, 0]


def _plain_copy(policy: Policy, dtype: torch.dtype) -> torch.nn.Module:
    """Return the base model without LoRA layers around it, with weights of its own."""
    from rllm_assets.models.loading import load_model

    return load_model(policy.base, dtype, policy.device)
