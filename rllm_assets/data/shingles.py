"""Texts as sets of token 5-grams, each gram a number of 64 bits.

Tokens are the longest runs of letters, digits and underscores (``\\w+``) of the lower-cased text; what stands between them does
not count. A gram is five tokens in a row. A text of one to four tokens is one gram, all of it; a text without tokens has none.
Of a text longer than a million characters the first million count.

Grams are compared by their hashes: two that differ are taken for the same with a probability of less than 2^-50.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Grams = npt.NDArray[np.uint64]
Sizes = npt.NDArray[np.int64]

GRAM_TOKENS = 5
LONGEST_TEXT = 1_000_000

_WORD = re.compile(r"\w+")


def _constant(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _powers(base: int, count: int) -> Grams:
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


# A token's hash is a polynomial over its bytes, modulo 2^64. An odd base has an inverse there, so that the hashes of all tokens
# of a text come from one running sum over its bytes.
_BASE = _constant("base") | 1
_INVERSE = pow(_BASE, -1, 2**64)
_IS_WORD = bytes(byte >= 128 or chr(byte).isalnum() or byte == ord("_") for byte in range(256))
_PLACES = [np.uint64(pow(_constant("place") | 1, place, 2**64)) for place in range(GRAM_TOKENS)]
_LENGTHS = [np.uint64(_constant(f"length {length}")) for length in range(GRAM_TOKENS + 1)]
_SPREAD = np.uint64(_constant("spread") | 1)
_CACHED = 1 << 16
_UP, _DOWN = _powers(_BASE, _CACHED), _powers(_INVERSE, _CACHED)


def shingles(text: str) -> Grams:
    """Return the hashes of a text's grams, each once, in ascending order."""
    return shingles_of([text])[0]


def shingles_of(texts: Iterable[str]) -> tuple[Grams, Sizes]:
    """Return the grams of some texts, those of one after the other's, and how many each has; quicker than one by one."""
    parts = [_grams_of(words) for words in _chunks(_words(text[:LONGEST_TEXT]) for text in texts)]
    if not parts:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    grams, sizes = zip(*parts, strict=True)
    return np.concatenate(grams), np.concatenate(sizes)


def jaccard(one: Grams, other: Grams) -> float:
    """Return how many of the grams of two sets are common to both, of all that are in either; 0 for two empty sets."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    either = len(one) + len(other) - common
    return common / either if either else 0.0


def _words(text: str) -> bytes:
    """Return the text's tokens with anything but ASCII letters, digits, ``_`` and bytes over 127 between them."""
    lower = text.lower()
    return lower.encode() if lower.isascii() else " ".join(_WORD.findall(lower)).encode()


def _chunks(words: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield so many texts at a time that their powers are in the cache, or one that is longer than that."""
    chunk: list[bytes] = []
    size = 1
    for each in words:
        if chunk and size + len(each) >= _CACHED:
            yield chunk
            chunk, size = [], 1
        chunk.append(each)
        size += len(each) + 1
    if chunk:
        yield chunk


def _grams_of(words: list[bytes]) -> tuple[Grams, Sizes]:
    starts, tokens = _token_hashes(b" ".join((b"", *words, b"")))
    # Where each text begins, and where the next would.
    bounds = np.cumsum([1, *(len(each) + 1 for each in words)])
    firsts = np.searchsorted(starts, bounds)
    grams = _hashes(tokens, GRAM_TOKENS)
    found = [np.empty(0, np.uint64)]
    sizes = np.zeros(len(words), np.int64)
    for text, (first, end) in enumerate(zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True)):
        if first < end:
            width = min(GRAM_TOKENS, end - first)
            own = grams[first : end - width + 1] if width == GRAM_TOKENS else _hashes(tokens[first:end], width)
            own.sort()
            sizes[text] = len(own)
            found.append(own)
    grams = np.concatenate(found)
    owners = np.repeat(np.arange(len(words)), sizes)
    is_new = np.ones(len(grams), bool)
    is_new[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
    return grams[is_new], np.bincount(owners[is_new], minlength=len(words))


def _hashes(tokens: Grams, width: int) -> Grams:
    """Return the hash of each run of so many tokens."""
    count = max(0, len(tokens) - width + 1)
    grams = np.full(count, _LENGTHS[width])
    for place in range(width):
        grams += tokens[place : place + count] * _PLACES[place]
    # The sum's low bits depend on the low bits of its parts alone; the finish lets every bit depend on all that are above it.
    grams ^= grams >> np.uint64(32)
    grams *= _SPREAD
    grams ^= grams >> np.uint64(29)
    return grams


def _token_hashes(words: bytes) -> tuple[Sizes, Grams]:
    """Return where the tokens of a text between spaces begin, and their hashes."""
    data, is_word = np.frombuffer(words, np.uint8), np.frombuffer(words.translate(_IS_WORD), np.uint8)
    edges = np.flatnonzero(is_word[1:] != is_word[:-1])
    starts, ends = edges[0::2] + 1, edges[1::2]
    is_cached = len(data) <= _CACHED
    up = _UP[: len(data)] if is_cached else _powers(_BASE, len(data))
    down = _DOWN if is_cached else _powers(_INVERSE, len(data))
    sums = np.cumsum(data * up)
    return starts, (sums[ends] - sums[starts - 1]) * down[starts]


class ShingleStore:
    """The grams of many texts, in a temporary file that is gone when the store is; memory holds 16 bytes a text."""

    def __init__(self, scratch: Path | None = None) -> None:
        """Start empty, with the file in `scratch`, or where temporary files lie."""
        self._file: Any = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        self._sizes: list[Sizes] = []
        self._ends: Sizes | None = None

    @classmethod
    def of(cls, texts: Iterable[str], scratch: Path | None = None) -> "ShingleStore":
        """Return the store of some texts."""
        store = cls(scratch)
        rest = iter(texts)
        while batch := list(islice(rest, 1000)):
            store.append(*shingles_of(batch))
        return store

    def append(self, grams: Grams, sizes: Sizes) -> None:
        """Add texts by their grams, as `shingles_of` returns them."""
        self._file.write(grams.astype("<u8", copy=False).tobytes())
        self._sizes.append(sizes)
        self._ends = None

    def __len__(self) -> int:
        """Return the number of texts."""
        return sum(len(sizes) for sizes in self._sizes)

    @property
    def sizes(self) -> Sizes:
        """The number of grams of each text."""
        return np.concatenate([np.empty(0, np.int64), *self._sizes])

    def __getitem__(self, index: int) -> Grams:
        """Return the grams of a text."""
        return self._read(*self._bounds(index, index + 1))

    def batches(self, texts: int) -> Iterator[tuple[Grams, Sizes]]:
        """Yield the grams of so many texts at a time, one text's after the other's, and the number of each."""
        sizes = self.sizes
        for first in range(0, len(sizes), texts):
            last = min(first + texts, len(sizes))
            yield self._read(*self._bounds(first, last)), sizes[first:last]

    def _bounds(self, first: int, last: int) -> tuple[int, int]:
        if self._ends is None:
            self._file.flush()
            self._ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes)])
        return int(self._ends[first]), int(self._ends[last])

    def _read(self, start: int, end: int) -> Grams:
        grams = np.empty(end - start, "<u8")
        view = memoryview(grams.view(np.uint8))  # pyright: ignore[reportArgumentType]
        done = 0
        while done < len(view):
            # A read may return less than it was asked for, and does past 2 GiB.
            read = os.preadv(self._file.fileno(), [view[done:]], start * 8 + done)
            if not read:
                raise OSError("the temporary file of grams is cut off")
            done += read
        return grams.astype(np.uint64, copy=False)
