"""Where an answer is complete, and which seed each answer to a prompt has, the same for every sampler."""

import hashlib
from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

# Tells of the text so far whether the answer is complete; asked when a token with a backtick comes.
StopRule = Callable[[str], bool]


class Stopping:
    """Asks a rule about the tokens of an answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Look up which tokens have a backtick."""
        self._tokenizer = tokenizer
        self._has_backtick = {index for token, index in tokenizer.get_vocab().items() if "`" in token}

    def is_complete(self, tokens: Sequence[int], stop: StopRule | None) -> bool:
        """Tell whether the last of some tokens completes the answer."""
        return stop is not None and tokens[-1] in self._has_backtick and stop(str(self._tokenizer.decode(list(tokens))))

    def end(self, tokens: Sequence[int], stop: StopRule | None) -> int | None:
        """Return after how many tokens an answer was complete; None where it never was."""
        return next((end for end in range(1, len(tokens) + 1) if self.is_complete(tokens[:end], stop)), None)


def answer_seed(seed: int, number: int) -> int:
    """Return the seed of one of the answers to a prompt, in 31 bits; prompts of neighbouring seeds share none."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big") >> 1
