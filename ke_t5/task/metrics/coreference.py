"""Scores of coreference: chains of mentions against the gold chains of a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ke_t5.task.metrics.metric import metric
from ke_t5.task.metrics.statistics import Sums

Mention = Sequence[int]  # start, end
Chains = Sequence[Sequence[Mention]]

# Columns of a row's counts: numerator and denominator of the precision, then of the recall, of each
# measure.
MEASURES = ("muc", "b_cubed", "ceaf_e", "lea", "mentions")
_WIDTH = 4


@metric("conll_f1", "lea_f1", "muc_f1", "b_cubed_f1", "ceaf_e_f1", "mention_f1")
def coreference(targets: Sequence[Chains], predictions: Sequence[Chains | None]) -> dict[str, Sums]:
    """F1 of mention chains, one row per document; counts are summed over the documents.

    * `muc_f1`: links (Vilain et al. 1995). A chain of n mentions has n - 1 links; if the other side
      splits it into p parts, p - 1 of them are missing.
    * `b_cubed_f1`: per mention, the share of its chain that is in its chain on the other side
      (Bagga and Baldwin 1998); 0 for a mention that the other side lacks.
    * `ceaf_e_f1`: 2 |K and R| / (|K| + |R|) summed over the best one-to-one assignment of chains,
      per chain (Luo 2005, phi 4).
    * `conll_f1`: the mean of these three (CoNLL 2011 and 2012).
    * `lea_f1`: the share of the links between any two mentions of a chain that the other side has,
      weighted by the chain's mentions (Moosavi and Strube 2016). A chain of one mention has a link
      to itself, found if the mention is alone on the other side too.
    * `mention_f1`: the mentions, regardless of their chain.

    Scores equal those of the reference scorer (Pradhan et al. 2014, version 8.01) and, including
    LEA, of its successor in Python (ns-moosavi/coval). As there, chains of one mention count in all
    measures that allow them (all but MUC), and undefined precision, recall and F1 are 0. Compared
    on 600 random documents, alone and in groups of ten, and on edge cases: MUC, B-cubed, CEAF-e and
    mentions with scorer.pl 8.01 (all groups, 100 documents; it truncates to two decimals), MUC,
    B-cubed and CEAF-e with scorch 0.2.0, neleval 3.1.1 and coreference 0.0.3, LEA with `lea` of
    coval (commit 6de3913), without any difference. Programs that skip chains of one mention in LEA,
    such as coreference 0.0.3, differ if there are any.

    Args:
        targets, predictions: chains of mentions (start, end). A prediction of None has no chains.

    Raises:
        ValueError: a mention is in two chains of one side.
    """
    counts = counts_of_rows(targets, predictions)
    muc, b_cubed, ceaf_e, lea, mentions = np.split(counts, len(MEASURES), axis=1)
    return {
        "conll_f1": Sums(np.concatenate([muc, b_cubed, ceaf_e], axis=1), _mean_f1),
        "lea_f1": Sums(lea, _mean_f1),
        "muc_f1": Sums(muc, _mean_f1),
        "b_cubed_f1": Sums(b_cubed, _mean_f1),
        "ceaf_e_f1": Sums(ceaf_e, _mean_f1),
        "mention_f1": Sums(mentions, _mean_f1),
    }


def counts_of_rows(targets: Sequence[Chains], predictions: Sequence[Chains | None]) -> np.ndarray:
    """[rows, 4 M]: numerator and denominator of precision and recall for each of `MEASURES`."""
    rows = [
        _counts(_Side.of(gold, row), _Side.of(predicted or (), row))
        for row, (gold, predicted) in enumerate(zip(targets, predictions, strict=True))
    ]
    return np.array(rows, dtype=np.float64)


def _mean_f1(sums: np.ndarray) -> np.ndarray:
    """[..., 4 M] -> [...]: the mean of the F1 x 100 of M measures; 0 / 0 is 0."""
    counts = sums.reshape(*sums.shape[:-1], sums.shape[-1] // _WIDTH, 2, 2)
    ratios = np.divide(*np.moveaxis(counts, -1, 0), where=counts[..., 1] > 0,
                       out=np.zeros(counts.shape[:-1]))  # fmt: skip
    precision, recall = ratios[..., 0], ratios[..., 1]
    total = precision + recall
    return (2 * precision * recall / np.where(total > 0, total, 1)).mean(-1) * 100.0


class _Side(NamedTuple):
    """The sizes of the chains of one side of a document, and the chain of each of its mentions."""

    sizes: list[int]
    chain_of: dict[tuple[int, ...], int]

    @classmethod
    def of(cls, chains: Chains, row: int) -> _Side:
        """The side with these chains; repeated mentions count once, empty chains are ignored."""
        sets = [{tuple(mention) for mention in chain} for chain in chains if chain]
        chain_of: dict[tuple[int, ...], int] = {}
        for number, mentions in enumerate(sets):
            shared = sorted(mentions & chain_of.keys())
            if shared:
                raise ValueError(f"row {row}: mention {shared[0]} is in two chains")
            chain_of.update(dict.fromkeys(mentions, number))
        return cls([len(mentions) for mentions in sets], chain_of)

    def parts(self, other: _Side) -> list[Counter[int]]:
        """For each chain, the number of its mentions in each chain of the other side."""
        parts: list[Counter[int]] = [Counter() for _ in self.sizes]
        for mention, number in self.chain_of.items():
            if mention in other.chain_of:
                parts[number][other.chain_of[mention]] += 1
        return parts


def _counts(gold: _Side, predicted: _Side) -> list[float]:
    """The counts of a row, see `MEASURES`."""
    similarity = _best_similarity(gold, predicted)
    of_predicted, of_gold = _shares(predicted, gold), _shares(gold, predicted)
    of_predicted["ceaf_e"] = similarity, len(predicted.sizes)
    of_gold["ceaf_e"] = similarity, len(gold.sizes)
    return [count for name in MEASURES for count in (*of_predicted[name], *of_gold[name])]


def _shares(side: _Side, other: _Side) -> dict[str, tuple[float, float]]:
    """(matched, total) of one side's items for each measure except CEAF."""
    links = correct = resolved = 0.0
    parts = side.parts(other)
    for size, part in zip(side.sizes, parts, strict=True):
        links += part.total() - len(part)
        correct += sum(count**2 for count in part.values()) / size
        if size > 1:
            pairs = sum(count * (count - 1) for count in part.values())
            resolved += pairs / (size - 1)  # size x pairs / (size x (size - 1))
        else:
            resolved += sum(other.sizes[number] == 1 for number in part)
    num_mentions = sum(side.sizes)
    return {
        "muc": (links, num_mentions - len(side.sizes)),
        "b_cubed": (correct, num_mentions),
        "lea": (resolved, num_mentions),
        "mentions": (sum(part.total() for part in parts), num_mentions),
    }


def _best_similarity(gold: _Side, predicted: _Side) -> float:
    """The sum of phi 4 over the best one-to-one assignment of chains."""
    from scipy.optimize import linear_sum_assignment

    common = np.zeros((len(gold.sizes), len(predicted.sizes)))
    for number, part in enumerate(gold.parts(predicted)):
        for other, count in part.items():
            common[number, other] = count
    sizes = np.add.outer(np.array(gold.sizes), np.array(predicted.sizes))
    similarity = 2 * common / sizes
    return float(similarity[linear_sum_assignment(similarity, maximize=True)].sum())
