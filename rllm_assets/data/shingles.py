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
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Grams = npt.NDArray[np.uint64]

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
    tokens = _token_hashes(_words(text[:LONGEST_TEXT]))
    if not len(tokens):
        return tokens
    width = min(GRAM_TOKENS, len(tokens))
    count = len(tokens) - width + 1
    grams = np.full(count, _LENGTHS[width])
    for place in range(width):
        grams += tokens[place : place + count] * _PLACES[place]
    # The sum's low bits depend on the low bits of its parts alone; the finish lets every bit depend on all that are above it.
    grams ^= grams >> np.uint64(32)
    grams *= _SPREAD
    grams ^= grams >> np.uint64(29)
    grams.sort()
    is_new = np.empty(count, bool)
    is_new[0] = True
    np.not_equal(grams[1:], grams[:-1], out=is_new[1:])
    return grams[is_new]


def jaccard(one: Grams, other: Grams) -> float:
    """Return how many of the grams of two sets are common to both, of all that are in either; 0 for two empty sets."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    either = len(one) + len(other) - common
    return common / either if either else 0.0


def _words(text: str) -> bytes:
    """Return the text's tokens with anything but ASCII letters, digits, ``_`` and bytes over 127 between them."""
    lower = text.lower()
    return lower.encode() if lower.isascii() else " ".join(_WORD.findall(lower)).encode()


def _token_hashes(words: bytes) -> Grams:
    words = b" %b " % words
    data, is_word = np.frombuffer(words, np.uint8), np.frombuffer(words.translate(_IS_WORD), np.uint8)
    edges = np.flatnonzero(is_word[1:] != is_word[:-1])
    starts, ends = edges[0::2] + 1, edges[1::2]
    is_cached = len(data) <= _CACHED
    up = _UP[: len(data)] if is_cached else _powers(_BASE, len(data))
    down = _DOWN if is_cached else _powers(_INVERSE, len(data))
    sums = np.cumsum(data * up)
    return (sums[ends] - sums[starts - 1]) * down[starts]


class ShingleStore:
    """The grams of many texts, in a temporary file that is gone when the store is; memory holds 16 bytes a text."""

    def __init__(self, scratch: Path | None = None) -> None:
        """Start empty, with the file in `scratch`, or where temporary files lie."""
        self._file: Any = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        self._sizes: list[npt.NDArray[np.int64]] = []
        self._ends: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, texts: Iterable[str], scratch: Path | None = None) -> "ShingleStore":
        """Return the store of some texts."""
        store = cls(scratch)
        rest = iter(texts)
        while batch := [shingles(text) for text in islice(rest, 1000)]:
            store.append(batch)
        return store

    def append(self, grams: Sequence[Grams]) -> None:
        """Add texts by their grams, as `shingles` returns them."""
        if grams:
            self.append_flat(np.concatenate(grams), np.array([len(each) for each in grams], np.int64))

    def append_flat(self, grams: Grams, sizes: npt.NDArray[np.int64]) -> None:
        """Add texts by their grams, one text's after the other's, and how many each has."""
        self._file.write(grams.astype("<u8", copy=False).tobytes())
        self._sizes.append(sizes)
        self._ends = None

    def __len__(self) -> int:
        """Return the number of texts."""
        return sum(len(sizes) for sizes in self._sizes)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """The number of grams of each text."""
        return np.concatenate([np.empty(0, np.int64), *self._sizes])

    def __getitem__(self, index: int) -> Grams:
        """Return the grams of a text."""
        return self._read(*self._bounds(index, index + 1))

    def batches(self, texts: int) -> Iterator[tuple[Grams, npt.NDArray[np.int64]]]:
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
