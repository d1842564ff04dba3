"""Finds pairs of nearly equal texts by MinHash over character trigrams.

Two texts are near if the Jaccard index of their trigrams, ignoring case, spaces and punctuation, is
at least `NEAR`. Texts whose signatures agree in one of `BANDS` bands are compared exactly, which
finds 94, 99.5 and 100 % of the pairs at 0.7, 0.8 and 0.9 (Broder 1997; banding as in Leskovec et
al., Mining of Massive Datasets, 3.4). The cost is linear in the number of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NEAR = 0.7
SIZE = 3  # characters
BANDS, ROWS_PER_BAND = 10, 4
MAX_CHARACTERS = 300  # compared per text
MAX_PAIRS = 50_000  # pairs that are compared exactly, most similar signatures first
AT_ONCE = 20_000  # texts per batch
_SEED = 20260101
_IGNORED = re.compile(r"[\W_]+")


class Pair(NamedTuple):
    """The indices of two texts, in order, and their Jaccard index."""

    first: int
    second: int
    likeness: float


class Found(NamedTuple):
    """The near pairs, most similar first; `is_complete` unless there were more than `MAX_PAIRS`
    candidates."""

    pairs: list[Pair]
    is_complete: bool


def near_pairs(texts: Sequence[str]) -> Found:
    """The pairs of nearly equal texts among distinct texts.

    A text that is near many others is paired with some of them, not necessarily with all.
    """
    folded = [_folded(text) for text in texts]
    signatures = np.concatenate(
        [_signatures(folded[i : i + AT_ONCE]) for i in range(0, len(folded), AT_ONCE)]
        or [np.zeros((0, BANDS * ROWS_PER_BAND), np.uint32)]
    )
    candidates = _candidates(signatures)
    agreement = np.zeros(len(candidates))
    for start in range(0, len(candidates), AT_ONCE):
        some = candidates[start : start + AT_ONCE]
        equal = signatures[some[:, 0]] == signatures[some[:, 1]]
        agreement[start : start + AT_ONCE] = equal.mean(1)
    # Far below `NEAR`: of 40 places, one in 300 near pairs agrees in so few.
    is_likely = agreement > NEAR - 0.25
    likely = candidates[is_likely][np.argsort(-agreement[is_likely], kind="stable")]
    pairs = []
    for first, second in likely[:MAX_PAIRS].tolist():
        likeness = jaccard(folded[first], folded[second])
        if likeness >= NEAR:
            pairs.append(Pair(first, second, likeness))
    pairs.sort(key=lambda pair: (-pair.likeness, pair.first, pair.second))
    return Found(pairs, len(likely) <= MAX_PAIRS)


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", text[: 2 * MAX_CHARACTERS]).casefold()
    return _IGNORED.sub("", text)[:MAX_CHARACTERS]


def jaccard(one: str, other: str) -> float:
    """The Jaccard index of the trigrams of two folded texts."""
    first, second = (
        {text[i : i + SIZE] for i in range(len(text) - SIZE + 1)} for text in (one, other)
    )
    return len(first & second) / max(1, len(first | second))


def _signatures(texts: Sequence[str]) -> np.ndarray:
    """[N, bands x rows]: MinHash signatures of the texts; random ones for texts without trigrams,
    so that they match no other."""
    encoded = [np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32) for text in texts]
    counts = np.array([max(0, len(one) - SIZE + 1) for one in encoded])
    characters = np.concatenate([np.zeros(0, np.uint32), *encoded]).astype(np.uint64)
    starts = np.cumsum([0, *map(len, encoded)])[:-1]
    first = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) + np.repeat(starts - first, counts)
    grams = characters[places]
    for shift in range(1, SIZE):  # 21 bits hold any character
        grams = (grams << np.uint64(21)) | characters[places + shift]
    generator = np.random.default_rng(_SEED)
    signatures = generator.integers(
        2**32, size=(len(texts), BANDS * ROWS_PER_BAND), dtype=np.uint32
    )
    if not len(grams):
        return signatures
    has_any = counts > 0
    mixed = _mixed(grams)
    odd = generator.integers(2**63, size=BANDS * ROWS_PER_BAND, dtype=np.uint64) * np.uint64(2)
    for column, factor in enumerate((odd + np.uint64(1)).tolist()):
        hashes = ((mixed * np.uint64(factor)) >> np.uint64(32)).astype(np.uint32)
        signatures[has_any, column] = np.minimum.reduceat(hashes, first[has_any])
    return signatures


def _mixed(values: np.ndarray) -> np.ndarray:
    """The values with their bits mixed by the finalizer of splitmix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _candidates(signatures: np.ndarray) -> np.ndarray:
    """[pairs, 2]: candidate pairs; texts that agree in a band are each paired with the previous
    one and with the first one."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    for band in range(BANDS):
        columns = signatures[:, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND]
        key = np.zeros(len(columns), dtype=np.uint64)
        for column in columns.T:
            key = _mixed(key ^ column.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        order = np.argsort(key, kind="stable")
        is_same = np.flatnonzero(key[order][1:] == key[order][:-1]) + 1
        begins = np.flatnonzero(np.concatenate([[True], key[order][1:] != key[order][:-1]]))
        heads = begins[np.searchsorted(begins, is_same, side="right") - 1]
        for others in (is_same - 1, heads):
            found.append(np.sort(np.stack([order[others], order[is_same]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)
