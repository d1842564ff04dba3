"""The rows on which one of two models is better than the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ke_t5.experiments.evaluations import Side
from ke_t5.experiments.paired import mcnemar
from ke_t5.report import tables
from ke_t5.report.error_analysis import graded_first
from ke_t5.report.intervals import row_values
from ke_t5.report.tables import Line
from ke_t5.task.metrics.tagging import entity_pairs, tree_words

NUM_SHOWN = 20


@dataclass(frozen=True)
class Change:
    """A row on which one model is better than the other; `gain` is that of the second model."""

    row: int
    text: str
    gold: Any
    first: Any
    second: Any
    gain: float  # in `Changes.unit`


@dataclass(frozen=True)
class Changes:
    """Two models' answers compared row by row.

    Attributes:
        unit: the unit in which answers are compared: "right", "wrong entities", ...
        num_worse, num_better: the number of rows on which the second model is worse, or better.
        worse, better: the `NUM_SHOWN` of these rows with the largest change.
        num_both, num_neither, num_only_first, num_only_second: the number of rows that both,
            neither or only one of the models has entirely right; None for numbers.
    """

    unit: str
    num_rows: int
    num_worse: int
    num_better: int
    worse: Sequence[Change]
    better: Sequence[Change]
    num_both: int | None = None
    num_neither: int | None = None
    num_only_first: int | None = None
    num_only_second: int | None = None

    @property
    def p(self) -> float | None:
        """McNemar's exact p value."""
        if self.num_only_first is None or self.num_only_second is None:
            return None
        return mcnemar(self.num_only_first, self.num_only_second)


def changes(first: Side, second: Side) -> Changes:
    """The labelled rows on which the two sides differ."""
    pairs = [
        (one, other)
        for one, other in zip(
            *(side.evaluated.predictions for side in (first, second)), strict=True
        )
        if one["gold"] is not None
    ]
    lines = [[pair[side] for pair in pairs] for side in (0, 1)]
    kind = tables.kind_of(first.task, lines[0])
    unit, values = _values(kind, (first, second), lines)
    with np.errstate(invalid="ignore"):
        gains = values[1] - values[0]
    gains[np.isnan(gains)] = 0.0  # both answers are undefined
    ranked = np.argsort(gains, kind="stable")
    confidence = [[line.get("score") or 0.0 for line in side] for side in lines]

    def change(i: int) -> Change:
        one, other = pairs[i]
        answers = one["gold"], one["prediction"], other["prediction"]
        return Change(one["id"], one["inputs"], *answers, gain=float(gains[i]))

    def shown(mask: np.ndarray, side: int) -> list[Change]:
        """The largest changes first; ties by the confidence of the model that is worse."""
        rows = [i for i in ranked.tolist() if mask[i]]
        rows.sort(key=lambda i: (-abs(gains[i]), -confidence[side][i]))
        return [change(i) for i in rows[:NUM_SHOWN]]

    is_worse, is_better = gains < 0, gains > 0
    return Changes(
        unit,
        len(pairs),
        int(is_worse.sum()),
        int(is_better.sum()),
        shown(is_worse, 1),
        shown(is_better, 0),
        **_agreement(kind, values),
    )


def _agreement(kind: str, values: Sequence[np.ndarray]) -> dict[str, int]:
    """How many rows both, neither, or only one of the sides has right; {} for numbers."""
    if kind == "numbers":
        return {}
    best = 0.0 if kind in ("tags", "trees", "label sets") else 1.0
    first, second = (side >= best for side in values)
    masks = {
        "num_both": first & second,
        "num_neither": ~first & ~second,
        "num_only_first": first & ~second,
        "num_only_second": ~first & second,
    }
    return {name: int(mask.sum()) for name, mask in masks.items()}


def _values(
    kind: str, sides: tuple[Side, Side], lines: Sequence[Sequence[Line]]
) -> tuple[str, list[np.ndarray]]:
    """The unit, and for each side the quality of its answers; higher is better."""
    if kind == "answers":
        found = [row_values(side.task, side.evaluated) for side in sides]
        ranked = graded_first(sides[0].task, found[0])
        shared = next((name for name in ranked if name in found[1]), None)
        if shared is not None:
            return shared, [values[shared] / 100 for values in found]
    unit, value_of = VALUES.get(kind, VALUES["labels"])
    return unit, [np.array([value_of(line) for line in side]) for side in lines]


def _distance(line: Line) -> float:
    prediction = line["prediction"]
    if prediction is None or not math.isfinite(prediction):
        return -math.inf
    return -abs(prediction - line["gold"])


def _wrong_entities(line: Line) -> float:
    pairs = entity_pairs(line["gold"], line["prediction"])
    return -float(sum(gold != predicted for gold, predicted in pairs))


def _wrong_words(line: Line) -> float:
    words = tree_words(line["gold"], line["prediction"])
    return -float(sum(tuple(word[:2]) != tuple(word[2:]) for word in words))


def _wrong_labels(line: Line) -> float:
    return -float(len({*line["gold"]} ^ {*(line["prediction"] or ())}))


VALUES: Mapping[str, tuple[str, Callable[[Line], float]]] = {
    "labels": ("right", lambda line: float(line["gold"] == line["prediction"])),
    "numbers": ("distance", _distance),
    "label sets": ("wrong labels", _wrong_labels),
    "tags": ("wrong entities", _wrong_entities),
    "trees": ("wrong words", _wrong_words),
}
