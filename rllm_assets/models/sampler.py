"""The sampler: a merged copy of the policy that answers many prompts at once and remembers how probable each token was.

The prompt of a group is read once, answers that agree so far are computed once, and finished answers leave the batch.
Randomness belongs to the answer, not to the batch: the same seed gives the same answers whatever is sampled beside them.

Shape suffixes: B branches of answers that agree so far, R answers in the batch, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rllm_assets.models.branches import Branches
from rllm_assets.models.hardware import resolve_dtype
from rllm_assets.models.loading import final_hidden, head_weight
from rllm_assets.models.policy import Policy

# Answers decoded at once: enough rows for efficient matrix products, few enough for memory.
MAX_ROWS = 256

StopRule = Callable[[str], bool]


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
        model, device = self._sampler._model, self._device
        branches = Branches(self._prompts, self._sampler._dtype, device)
        hidden = final_hidden(model, branches.prompt_ids, branches)  # pyright: ignore[reportArgumentType]
        logits = _logits(model, hidden[branches.last_positions])
        branch_of = {row: row // self._samples for row in range(len(self._tokens))}
        branches.start(len(self._tokens), self._max_tokens)
        for position in range(self._max_tokens):
            chosen = self._advance(logits, branch_of, position)
            if not chosen or position + 1 == self._max_tokens:
                break
            placed = branches.grow(list(dict.fromkeys(chosen.values())))
            branch_of = {row: placed[child] for row, child in chosen.items()}
            token_of = {place: token for (_, token), place in placed.items()}
            last = torch.tensor([token_of[place] for place in range(len(placed))], device=device)
            logits = _logits(model, final_hidden(model, last, branches))  # pyright: ignore[reportArgumentType]
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
                if token in self._sampler._policy.eos_ids or self._is_complete(row, token):
                    self._finished[row] = True
                else:
                    going[row] = (branch_of[row], token)
        return going

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


def _logits(model: torch.nn.Module, hidden: Tensor) -> Tensor:
    return (hidden @ head_weight(model).T).float()  # pyright: ignore[reportArgumentType]


def _draw(logits_BV: Tensor, branch_R: Tensor, uniform_R: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw each answer's token, by inverting its branch's distribution at one uniform number, with its log-probability."""
    if temperature == 0:
        logits_RV = logits_BV[branch_R]
        chosen = logits_RV.argmax(-1)
        return chosen, logits_RV.gather(1, chosen[:, None])[:, 0] - logits_RV.logsumexp(-1)
    scaled_BV = logits_BV / temperature
    normalizer_B = scaled_BV.logsumexp(-1)
    cumulative_BV = (scaled_BV - normalizer_B[:, None]).exp_().cumsum(-1)
    target_R = uniform_R.to(cumulative_BV.dtype) * cumulative_BV[branch_R, -1]
    # One binary search for all answers of a branch: their numbers side by side, missing ones 0.
    counts_B = torch.bincount(branch_R, minlength=len(logits_BV))
    by_branch = torch.argsort(branch_R, stable=True)
    column = torch.empty_like(by_branch)
    first_B = counts_B.cumsum(0) - counts_B
    column[by_branch] = torch.arange(len(by_branch), device=branch_R.device) - first_B[branch_R[by_branch]]
    targets = target_R.new_zeros((len(logits_BV), int(counts_B.max())))
    targets[branch_R, column] = target_R
    found = torch.searchsorted(cumulative_BV, targets, right=True)
    chosen = found[branch_R, column].clamp_(max=logits_BV.shape[1] - 1)
    return chosen, scaled_BV[branch_R, chosen] - normalizer_B[branch_R]


def _plain_copy(policy: Policy, dtype: torch.dtype) -> torch.nn.Module:
    """Return the base model without LoRA layers around it, with weights of its own."""
    from rllm_assets.models.loading import load_model

    return load_model(policy.base, dtype, policy.device)
