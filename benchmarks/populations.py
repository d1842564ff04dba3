"""Synthetic populations of rows with gold and predictions, for `benchmarks.coverage`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ke_t5.task import metrics
from ke_t5.task.labels import KLUE_DP, KLUE_NER, KLUE_RE

MANY, SOME = 20_000, 4_000  # rows; fewer where a metric takes long
SYLLABLES = [chr(ord("가") + 28 * i) for i in range(399)]
Generator = np.random.Generator


@dataclass(frozen=True)
class Population:
    """Rows and their metrics; samples have `num_rows` rows (None: as given on the command line)."""

    metrics: Sequence[Callable]
    gold: Sequence[Any]
    predicted: Sequence[Any]
    scores: Any = None
    num_rows: int | None = None


def _labels(
    rng: Generator, *, shares: Sequence[float], accuracy: float, metric_fns: Sequence[Callable]
) -> Population:
    """Labels with these shares; errors are drawn from the same shares."""
    names = np.array([f"label {i}" for i in range(len(shares))])
    chances = np.array(shares) / sum(shares)
    gold, other = (names[rng.choice(len(names), size=MANY, p=chances)] for _ in range(2))
    predicted = np.where(rng.random(MANY) < accuracy, gold, other)
    return Population(metric_fns, gold.tolist(), predicted.tolist())


def _relations(
    rng: Generator, *, shares: Sequence[float], num_rows: int | None = None
) -> Population:
    """Relations with class probabilities; frequent classes are predicted better."""
    chances = np.array(shares) / sum(shares)
    gold = rng.choice(len(shares), size=MANY, p=chances)
    logits = np.log(chances) + rng.normal(0, 1.6, (MANY, len(shares)))
    logits[np.arange(MANY), gold] += 5.0
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return Population(
        (metrics.auprc,), gold.tolist(), logits.argmax(1).tolist(),
        weights / weights.sum(1, keepdims=True), num_rows,
    )  # fmt: skip


def _relation_labels(rng: Generator) -> Population:
    """Half of the rows have no relation, as in KLUE-RE."""
    names = np.array(KLUE_RE.names)
    chances = np.array([1.0, *(0.12 / (i + 1) for i in range(len(names) - 1))])
    gold, other = (names[rng.choice(len(names), size=MANY, p=chances / chances.sum())]
                   for _ in range(2))  # fmt: skip
    predicted = np.where(rng.random(MANY) < 0.7, gold, other)
    metric = metrics.micro_f1_without("no_relation")
    return Population((metric,), gold.tolist(), predicted.tolist())


def _numbers(rng: Generator, *, noise: float) -> Population:
    """Similarities from 0 to 5, many at 0, as in KLUE-STS."""
    gold = np.clip(rng.choice([0.2, 1.5, 3.0, 4.3], size=MANY, p=[0.4, 0.2, 0.2, 0.2])
                   + rng.normal(0, 0.5, MANY), 0, 5).round(1)  # fmt: skip
    predicted = np.clip(gold + rng.normal(0, noise, MANY), 0, 5)
    return Population(
        (metrics.pearson, metrics.spearman, metrics.f1_at_3), gold.tolist(), predicted.tolist()
    )


def _sentences(rng: Generator) -> Population:
    """Tags with entities; sentences differ in difficulty, so errors are correlated."""
    kinds = sorted({name[2:] for name in KLUE_NER.names if name != "O"})
    chances = np.array([0.12, 0.13, 0.2, 0.17, 0.3, 0.08])
    gold, predicted = [], []
    for right in np.clip(rng.normal(0.85, 0.12, MANY), 0.3, 1.0):
        rows: tuple[list[str], list[str]] = ([], [])
        for _ in range(1 + rng.poisson(1.6)):
            length, gap = rng.integers(1, 5), rng.integers(1, 9)
            kind, other = (kinds[i] for i in rng.choice(6, size=2, p=chances))
            draw = rng.random()
            said = kind if draw < right else other if draw < (1 + right) / 2 else None
            if draw > 0.97:
                kind = None
            for tags, name in zip(rows, (kind, said), strict=True):
                tags += [f"B-{name}", *[f"I-{name}"] * (length - 1)] if name else ["O"] * length
                tags += ["O"] * gap
        gold.append(rows[0])
        predicted.append(rows[1])
    functions = (metrics.entity_f1, metrics.entity_f1_micro, metrics.character_f1,
                 metrics.token_accuracy)  # fmt: skip
    return Population(functions, gold, predicted)


def _trees(rng: Generator) -> Population:
    """Dependency trees whose heads are mostly the next word, with unequal shares of relations."""
    names = np.array(KLUE_DP.names)
    chances = 0.8 ** np.arange(len(names))
    chances /= chances.sum()
    gold, predicted = [], []
    for right in np.clip(rng.normal(0.9, 0.08, MANY), 0.4, 1.0):
        length = int(np.clip(rng.normal(11, 4), 3, 30))
        places = np.arange(1, length + 1)
        heads, others = (np.minimum(places + rng.geometric(0.6, length), length) for _ in range(2))
        heads[-1] = others[-1] = 0
        kinds, other_kinds = (rng.choice(len(names), size=length, p=chances) for _ in range(2))
        said = np.where(rng.random(length) < right, heads, others)
        said_kinds = np.where(rng.random(length) < right, kinds, other_kinds)
        gold.append({"heads": heads.tolist(), "relations": names[kinds].tolist()})
        predicted.append({"heads": said.tolist(), "relations": names[said_kinds].tolist()})
    return Population((metrics.klue_dp,), gold, predicted)


def _text(rng: Generator, num_words: int) -> list[str]:
    return ["".join(rng.choice(SYLLABLES, size=rng.integers(1, 4))) for _ in range(num_words)]


def _damaged(rng: Generator, words: Sequence[str], share: float) -> list[str]:
    """The words, some of them replaced or missing."""
    kept = [_text(rng, 1)[0] if rng.random() < share / 2 else word for word in words]
    return [word for word in kept if rng.random() > share / 2] or kept[:1]


def _answers(rng: Generator, *, metric: Callable, share_empty: float) -> Population:
    """Short answers: right, close, or elsewhere."""
    gold, predicted = [], []
    for _ in range(SOME):
        words = _text(rng, int(rng.integers(1, 5)))
        answers = [" ".join(words)]
        said = rng.choice([answers[0], " ".join(_damaged(rng, words, 0.5)),
                           " ".join(_text(rng, 2)), ""], p=[0.6, 0.25, 0.1, 0.05])  # fmt: skip
        gold.append([] if rng.random() < share_empty else answers)
        predicted.append(str(said) if gold[-1] or rng.random() < 0.4 else "")
    return Population((metric,), gold, predicted)


def _states(rng: Generator) -> Population:
    """Dialogue states that grow from turn to turn, right or with a slot too many or too few."""
    slots = [f"장소-{name}-{value}" for name in "가나다라마바사" for value in "갑을병정"]
    gold, predicted = [], []
    for _ in range(MANY):
        state = rng.choice(slots, size=rng.integers(0, 9), replace=False).tolist()
        said = [slot for slot in state if rng.random() < 0.93]
        gold.append(state)
        predicted.append([*said, str(rng.choice(slots))] if rng.random() < 0.15 else said)
    return Population((metrics.dialogue_state,), gold, predicted)


def _summaries(rng: Generator) -> Population:
    """Summaries that contain more or less of the reference."""
    gold, predicted = [], []
    for share in rng.beta(2, 2, SOME):
        words = _text(rng, int(rng.integers(8, 25)))
        gold.append(" ".join(words))
        predicted.append(" ".join(_damaged(rng, words, float(share))))
    return Population((metrics.rouge, metrics.bleu), gold, predicted)


EVEN = (0.14, 0.1, 0.16, 0.15, 0.15, 0.12, 0.18)
LABELS = (metrics.accuracy, metrics.macro_f1)
RELATIONS = (0.55, *(0.2 / (i + 2) for i in range(29)))

POPULATIONS: dict[str, Callable[[Generator], Population]] = {
    "7 labels, 85 % right": partial(_labels, shares=EVEN, accuracy=0.83, metric_fns=LABELS),
    "7 labels, 97 % right": partial(_labels, shares=EVEN, accuracy=0.965, metric_fns=LABELS),
    "7 labels, one with 5 %": partial(
        _labels, shares=(0.05, 0.11, 0.17, 0.16, 0.16, 0.13, 0.22), accuracy=0.83,
        metric_fns=LABELS,
    ),
    "7 labels, one with 1.8 %": partial(
        _labels, shares=(0.018, 0.112, 0.17, 0.17, 0.17, 0.14, 0.22), accuracy=0.83,
        metric_fns=LABELS,
    ),
    "2 labels, one with 30 %": partial(
        _labels, shares=(0.3, 0.7), accuracy=0.75,
        metric_fns=(metrics.f1_of("label 0"), metrics.matthews),
    ),
    "relations, 30": _relation_labels,
    "probabilities, 6 classes": partial(_relations, shares=(0.3, 0.2, 0.15, 0.13, 0.12, 0.1)),
    "probabilities, 30 classes": partial(_relations, shares=RELATIONS),
    "probabilities, 12 classes": partial(
        _relations, shares=(0.3, *(0.2 / (i + 2) for i in range(11))), num_rows=800
    ),
    "similarities": partial(_numbers, noise=0.9),
    "similarities, small errors": partial(_numbers, noise=0.35),
    "sentences with entities": _sentences,
    "dependency trees": _trees,
    "answers, KLUE-MRC": partial(_answers, metric=metrics.klue_mrc, share_empty=0.3),
    "answers, KorQuAD": partial(_answers, metric=metrics.korquad, share_empty=0.0),
    "dialogue states": _states,
    "summaries": _summaries,
}  # fmt: skip
