"""Metrics as statistics of rows, which score many draws of the rows at once.

Each shortcut restates a metric of `ke_t5.task.metrics`, which stays the judge: `intervals` asks
whether a shortcut gives the metric's own number before it believes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ke_t5.report.counts import (
    classes_of,
    counts_of,
    entity_pairs,
    macro_of,
    macro_with_absent,
    micro,
    micro_or_zero,
)
from ke_t5.report.statistics import Areas, Mean, RankCorrelation, Statistic, Sums, correlation
from ke_t5.task import metrics, tags
from ke_t5.task.labels import KLUE_DP, KLUE_DP_FIRST_RARE, KLUE_NER, KLUE_RE
from ke_t5.task.metrics.classification import UNREAD_NUMBER
from ke_t5.task.metrics.tagging import RARE, WRONG_HEAD


def _mean_over_rows(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Mean]:
    """Means of what the metric says of each row alone."""
    rows = [metric([gold], [said]) for gold, said in zip(targets, predictions, strict=True)]
    return {name: Mean(np.array([row[name] for row in rows])) for name in rows[0]}


# ---------------------------------------------------------------------------------------- classes


def _label_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    return {"macro_f1": macro_of([[pair] for pair in zip(targets, predictions, strict=True)])}


def _without_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    pairs = [[pair] for pair in zip(targets, predictions, strict=True)]
    classes = [name for name in classes_of(pairs) if name != metric.excluded]
    return {"micro_f1": Sums(counts_of(pairs, classes), micro_or_zero)}


def _class_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    pairs = [[pair] for pair in zip(targets, predictions, strict=True)]
    return {"f1": Sums(counts_of(pairs, [metric.positive]), micro_or_zero)}


def _likeness_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    columns = _numbers(targets), _numbers(predictions)
    pairs = [[pair] for pair in zip(*((column >= 3).tolist() for column in columns), strict=True)]
    return {"f1": Sums(counts_of(pairs, [True]), micro_or_zero)}


UNREAD = object()


def _matthews_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    read = [UNREAD if said is None else said for said in predictions]
    pairs = [[pair] for pair in zip(targets, read, strict=True)]
    return {"matthews_correlation": Sums(counts_of(pairs), _matthews)}


def _matthews(sums: np.ndarray) -> np.ndarray:
    """[D] correlations x 100 of classes, by their counts; 0 where one side is constant."""
    hits, gold, predicted = np.moveaxis(sums.reshape(len(sums), 3, -1), 1, 0)
    total = gold.sum(1)
    product = hits.sum(1) * total - (gold * predicted).sum(1)
    sides = [total**2 - (side**2).sum(1) for side in (gold, predicted)]
    return np.nan_to_num(correlation(product, *sides))


# -------------------------------------------------------------------------------- tags and trees


def _entity_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    rows = [entity_pairs(*pair) for pair in zip(targets, predictions, strict=True)]
    if metric is metrics.entity_f1:
        return {"entity_f1": macro_of(rows)}
    return {"entity_f1_micro": Sums(counts_of(rows), micro)}


def _tag_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    rows = [
        [("O", "O"), *zip(gold, said or ["O"] * len(gold), strict=True), ("O", "O")]
        for gold, said in zip(targets, predictions, strict=True)
    ]
    return {
        name: Sums(counts_of(rows, classes), macro_with_absent, classes, is_fixed=True)
        for name, classes in (
            ("character_f1", list(KLUE_NER.names)),
            ("character_f1_without_o", [name for name in KLUE_NER.names if name != "O"]),
        )
    }


def _token_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    sides = [[getattr(x, "tokens", x) for x in side] for side in (targets, predictions)]
    shares = []
    for gold, said in zip(*sides, strict=True):
        pairs = zip(gold, [None] * len(gold) if said is None else said, strict=True)
        right = [tag == other for tag, other in pairs if tag is not None]
        shares.append([sum(right), len(right)])
    return {"token_accuracy": Sums(np.array(shares, dtype=np.float64), _share)}


def _tree_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    common = set(KLUE_DP.names[:KLUE_DP_FIRST_RARE])
    heads, relations, shares = [], [], []
    for gold, said in zip(targets, predictions, strict=True):
        nothing = [None] * len(gold["heads"])
        said = said or {"heads": nothing, "relations": nothing}
        pairs = list(zip(gold["heads"], said["heads"], strict=True))
        names = list(zip(gold["relations"], said["relations"], strict=True))
        right = [g == p for g, p in pairs]
        merged = [[n if n is None or n in common else RARE for n in pair] for pair in names]
        heads.append(pairs)
        relations.append(
            [(g, p if ok else WRONG_HEAD) for (g, p), ok in zip(merged, right, strict=True)]
        )
        both = sum(ok and g == p for ok, (g, p) in zip(right, names, strict=True))
        shares.append([sum(right), both, len(right)])
    counts = np.array(shares, dtype=np.float64)
    return {
        "uas": macro_of(heads),
        "las": macro_of(relations),
        "uas_accuracy": Sums(counts[:, [0, 2]], _share),
        "las_accuracy": Sums(counts[:, [1, 2]], _share),
    }


def _share(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return 100 * sums[:, 0] / sums[:, 1]


# -------------------------------------------------------------------- numbers and probabilities


def _numbers(column: Sequence) -> np.ndarray:
    return np.array([UNREAD_NUMBER if x is None else x for x in column], dtype=np.float64)


def _products(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    first, second = _numbers(targets), _numbers(predictions)
    # Around their means and in their own scale, so that no digits are lost in the products.
    first, second = ((x - x.mean()) / (x.std() or 1.0) for x in (first, second))
    columns = [np.ones(len(first)), first, second, first * second, first**2, second**2]
    return {"pearson": Sums(np.stack(columns, axis=1), _pearson)}


def _pearson(sums: np.ndarray) -> np.ndarray:
    total, first, second, product, first_square, second_square = sums.T
    return correlation(
        product - first * second / total,
        first_square - first**2 / total,
        second_square - second**2 / total,
    )


def _ranks(
    metric: Callable, targets: Sequence, predictions: Sequence
) -> dict[str, RankCorrelation]:
    return {"spearman": RankCorrelation(_numbers(targets), _numbers(predictions))}


def _precision_recall_areas(
    metric: Callable, targets: Sequence, predictions: Sequence, scores: Any
) -> dict[str, Areas]:
    probabilities = np.asarray(scores, dtype=np.float64).T
    gold = np.array([KLUE_RE.id_of(t) if isinstance(t, str) else int(t) for t in targets])
    is_klue = len(probabilities) == len(KLUE_RE.names)
    names = KLUE_RE.names if is_klue else range(len(probabilities))
    return {"auprc": Areas.of(gold, probabilities, names)}


# ------------------------------------------------------------------------------------------ texts


def _states(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Statistic]:
    found: dict[str, Statistic] = {**_mean_over_rows(metric, targets, predictions)}
    pairs = [(set(gold), set(said or ())) for gold, said in zip(targets, predictions, strict=True)]
    counts = [[len(gold & said), len(gold), len(said)] for gold, said in pairs]
    found["slot_micro_f1"] = Sums(np.array(counts, dtype=np.float64), micro_or_zero)
    return found


def _ngram_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    from sacrebleu.metrics import BLEU

    scorer = BLEU(tokenize="intl", force=True)
    rows = []
    for gold, said in zip(targets, predictions, strict=True):
        one = scorer.corpus_score([said or ""], [[gold]])
        rows.append([one.sys_len, one.ref_len, *one.counts, *one.totals])
    return {"bleu[intl]": Sums(np.array(rows, dtype=np.float64), _bleu)}


def _bleu(sums: np.ndarray) -> np.ndarray:
    from sacrebleu.metrics import BLEU

    found = []
    for written, wanted, *counts in np.rint(sums).astype(int).tolist():
        half = len(counts) // 2
        score = BLEU.compute_bleu(counts[:half], counts[half:], written, wanted)
        found.append(score.score)
    return np.array(found)


SHORTCUTS: Mapping[Callable, Callable[..., Mapping[str, Statistic]]] = {
    **dict.fromkeys(
        (metrics.accuracy, metrics.klue_mrc, metrics.korquad, metrics.rouge), _mean_over_rows
    ),
    metrics.auprc: _precision_recall_areas,
    metrics.bleu: _ngram_counts,
    metrics.character_f1: _tag_counts,
    metrics.dialogue_state: _states,
    metrics.entity_f1: _entity_counts,
    metrics.entity_f1_micro: _entity_counts,
    metrics.f1_at_3: _likeness_counts,
    metrics.klue_dp: _tree_counts,
    metrics.macro_f1: _label_counts,
    metrics.matthews: _matthews_counts,
    metrics.pearson: _products,
    metrics.spearman: _ranks,
    metrics.token_accuracy: _token_counts,
    tags.token_accuracy: _token_counts,
}


def shortcuts_of(metric: Callable, columns: Sequence[Sequence]) -> Mapping[str, Statistic]:
    """Score -> its statistic on these columns (gold, predictions and, where the metric wants them,
    scores of labelled rows); {} for a metric that has none."""
    make = SHORTCUTS.get(metric)
    if make is None and hasattr(metric, "excluded"):
        make = _without_counts
    if make is None and hasattr(metric, "positive"):
        make = _class_counts
    return make(metric, *columns) if make else {}
