"""Equal and nearly equal texts within and across splits, and equal texts with different labels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ke_t5.inspection.facts import SplitTexts, gold_text
from ke_t5.inspection.near_duplicates import near_pairs
from ke_t5.recipes.row_hashes import FOLDED, LABEL, Overlap, overlap

NUM_SHOWN = 10  # suspects, and near pairs
MAX_ROWS = 4  # shown of a suspect


@dataclass(frozen=True)
class Row:
    """A row to show: its split, number, text and gold."""

    split: str
    row: int
    text: str
    gold: str


@dataclass(frozen=True)
class NearPair:
    """Two rows with nearly equal texts, and the Jaccard index of their trigrams."""

    first: Row
    second: Row
    likeness: float


@dataclass(frozen=True)
class Duplicates:
    """Duplicates within and across splits.

    Attributes:
        equal_within: split -> number of rows whose text occurs in an earlier row.
        equal_across: (split, later split) -> overlap of the later split with the other.
        near_within: split -> number of rows with a nearly equal text in the same split.
        near_across: (split, later split) -> number of rows of the later split with a nearly equal
            text in the other.
        num_near_relabelled: number of near pairs with different labels.
        are_all_near: whether all candidate pairs were compared.
        num_suspects: number of texts that have several labels.
        num_suspect_rows: number of rows with one of these texts.
    """

    equal_within: Mapping[str, int]
    equal_across: Mapping[tuple[str, str], Overlap]
    near_within: Mapping[str, int]
    near_across: Mapping[tuple[str, str], int]
    num_near_relabelled: int
    are_all_near: bool
    num_suspects: int
    num_suspect_rows: int
    suspects: Sequence[Sequence[Row]] = field(default_factory=list)
    near: Sequence[NearPair] = field(default_factory=list)


class _All:
    """The concatenated rows of all splits."""

    def __init__(self, splits: Sequence[SplitTexts]) -> None:
        self.splits = splits
        sizes = [len(split.texts) for split in splits]
        self.starts = np.cumsum([0, *sizes])
        self.split_of = np.repeat(np.arange(len(splits)), sizes)
        self.hashes = np.concatenate([split.hashes for split in splits])

    def row(self, place: int) -> Row:
        """The row at a place, to show."""
        number = int(self.split_of[place])
        split, own = self.splits[number], place - int(self.starts[number])
        position = int(split.positions[own])
        task, examples = split.part.task, split.part.examples
        gold = gold_text(task, examples.example(position))
        return Row(split.part.name, int(examples.ids[position]), split.texts[own], gold)

    def text(self, place: int) -> str:
        """The text of the row at a place."""
        number = int(self.split_of[place])
        return self.splits[number].texts[place - int(self.starts[number])]


def find_duplicates(splits: Sequence[SplitTexts]) -> Duplicates:
    """Finds duplicates within and across the splits."""
    rows = _All(splits)
    names = [split.part.name for split in splits]
    pairs = list(itertools.combinations(range(len(splits)), 2))
    _, first, texts = np.unique(rows.hashes[:, FOLDED], return_index=True, return_inverse=True)
    near = near_pairs([rows.text(place) for place in first.tolist()])
    near_places = np.array([pair[:2] for pair in near.pairs], dtype=np.int64).reshape(-1, 2)
    is_near = _near_matrix(near_places, texts, rows, len(splits))
    suspects, num_suspects, num_rows = _suspects(rows)
    is_relabelled = _are_relabelled(first[near_places], rows)
    # Pairs with different labels first: they are the most informative.
    order = np.argsort(~is_relabelled, kind="stable")[:NUM_SHOWN]
    shown = []
    for i in order.tolist():
        one, other, likeness = near.pairs[i]
        pair = rows.row(int(first[one])), rows.row(int(first[other]))
        shown.append(NearPair(pair[0], pair[1], likeness))
    return Duplicates(
        equal_within={
            split.part.name: len(split.texts) - len(np.unique(split.hashes[:, FOLDED]))
            for split in splits
        },
        equal_across={
            (names[i], names[j]): overlap(splits[j].hashes, splits[i].hashes) for i, j in pairs
        },
        near_within={
            name: int(is_near[i, rows.split_of == i].sum()) for i, name in enumerate(names)
        },
        near_across={
            (names[i], names[j]): int(is_near[i, rows.split_of == j].sum()) for i, j in pairs
        },
        num_near_relabelled=int(is_relabelled.sum()),
        are_all_near=near.is_complete,
        num_suspects=num_suspects,
        num_suspect_rows=num_rows,
        suspects=suspects,
        near=shown,
    )


def _near_matrix(pairs: np.ndarray, texts: np.ndarray, rows: _All, num_splits: int) -> np.ndarray:
    """[splits, rows] whether a row has a nearly equal text in that split.

    Args:
        pairs: [pairs, 2] ids of nearly equal texts.
        texts: [rows] the id of each row's text.
    """
    num_texts = int(texts.max(initial=-1)) + 1
    has_text = np.zeros((num_splits, num_texts), dtype=bool)
    has_text[rows.split_of, texts.reshape(-1)] = True
    has_near = np.zeros_like(has_text)
    for one, other in ((0, 1), (1, 0)):
        for split in range(num_splits):
            has_near[split, pairs[has_text[split, pairs[:, one]], other]] = True
    return has_near[:, texts.reshape(-1)]


def _are_relabelled(pairs: np.ndarray, rows: _All) -> np.ndarray:
    """[pairs] whether the two rows have different labels; False if one has none."""
    labels = rows.hashes[pairs, LABEL]
    return (labels != 0).all(1) & (labels[:, 0] != labels[:, 1])


def _suspects(rows: _All) -> tuple[list[list[Row]], int, int]:
    """(rows to show, number of texts, number of rows) of texts with several labels; the most
    frequent texts are shown."""
    labelled = np.flatnonzero(rows.hashes[:, LABEL] != 0)
    texts = np.unique(rows.hashes[labelled, FOLDED], return_inverse=True)[1].reshape(-1)
    labels = np.unique(rows.hashes[labelled, LABEL], return_inverse=True)[1].reshape(-1)
    both = np.unique(np.stack([texts, labels], axis=1), axis=0)
    num_labels = np.bincount(both[:, 0], minlength=1)
    num_rows = np.bincount(texts, minlength=len(num_labels))
    is_suspect = num_labels > 1
    ranked = np.flatnonzero(is_suspect)
    ranked = ranked[np.argsort(-num_rows[ranked], kind="stable")]
    shown = []
    for text in ranked[:NUM_SHOWN].tolist():
        places = labelled[texts == text]
        of_labels = labels[texts == text]
        # One row of each label, then the rest.
        first = np.sort(np.unique(of_labels, return_index=True)[1]).tolist()
        order = [*first, *(i for i in range(len(places)) if i not in first)][:MAX_ROWS]
        shown.append([rows.row(int(places[i])) for i in order])
    return shown, len(ranked), int(num_rows[ranked].sum())
