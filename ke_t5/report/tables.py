"""Confusion matrices and scores per type of an evaluation's predictions."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ke_t5.forms import FORMS
from ke_t5.pipe import Evaluated, Task
from ke_t5.task import labels
from ke_t5.task.labels import Labels
from ke_t5.task.metrics import classification, multilabel, tagging
from ke_t5.task.metrics.coreference import MEASURES, counts_of_rows
from ke_t5.task.metrics.statistics import ClassCounts, by_class
from ke_t5.terminal import width_of

UNPARSABLE = "unparsable"
MAX_TYPES = 40  # shown at once
Line = Mapping[str, Any]


def labelled_lines(evaluated: Evaluated) -> list[Line]:
    """The predictions of rows that have a label."""
    return [line for line in evaluated.predictions if line["gold"] is not None]


def kind_of(task: Task, lines: Sequence[Line]) -> str:
    """The kind of gold values of these rows: "labels", "label sets", "tags", "trees", "chains",
    "numbers" or "answers" (texts, lists of texts, anything else)."""
    gold = next((line["gold"] for line in lines if line["gold"] is not None), None)
    if isinstance(gold, str) and (task.labels or _is_scored_by(classification.__name__, task)):
        return "labels"
    if isinstance(gold, (int, float)) and not isinstance(gold, bool):
        return "numbers"
    if isinstance(gold, dict) and {"heads", "relations"} <= set(gold):
        return "trees"
    if isinstance(gold, list) and FORMS[task.form].predicts_tags:
        return "tags"
    if isinstance(gold, list) and _is_scored_by(counts_of_rows.__module__, task):
        return "chains"
    if isinstance(gold, list) and _is_scored_by(multilabel.__name__, task):
        return "label sets"
    return "answers"


def _is_scored_by(module: str, task: Task) -> bool:
    return any(metric.__module__ == module for metric in task.metric_fns)


def labels_like(names: Iterable[str]) -> Labels | None:
    """The shortest label list of a benchmark that includes all these names."""
    required = set(names)
    candidates = [value for value in vars(labels).values() if isinstance(value, Labels)]
    return min((x for x in candidates if required <= set(x.names)), key=len, default=None)


# ----------------------------------------------------------------------------- confusion matrix


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        names: the labels that occur, in the order of their ids.
        glosses: English glosses of Korean names, otherwise the names.
        counts: [C, C + 1], gold x predicted; the last column counts unparsable answers.
    """

    names: tuple[str, ...]
    glosses: tuple[str, ...]
    counts: np.ndarray

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, without unparsable answers if there are none."""
        return (*self.names, UNPARSABLE) if self.counts[:, -1].any() else self.names


def confusion(task: Task, lines: Sequence[Line]) -> Confusion:
    """The confusion matrix of rows with labels."""
    values = {line[side] for line in lines for side in ("gold", "prediction")} - {None}
    like = labels_like(task.labels or values)
    order = task.labels or (like.names if like else sorted(values))
    names = tuple(name for name in order if name in values)
    names += tuple(sorted(values - set(names)))
    gloss = dict(zip(like.names, like.glosses or like.names, strict=True)) if like else {}
    ids: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    ids[None] = len(names)
    counts = np.zeros((len(names), len(names) + 1), dtype=np.int64)
    for line in lines:
        counts[ids[line["gold"]], ids[line["prediction"]]] += 1
    return Confusion(names, tuple(gloss.get(name, name) for name in names), counts)


def confusion_text(confusion: Confusion) -> str:
    """The matrix as text: a line per gold label, with numbered columns."""
    columns = [str(i) for i in range(len(confusion.names))]
    columns += [UNPARSABLE] if len(confusion.columns) > len(confusion.names) else []
    cells = [[str(count) if count else "." for count in row[: len(columns)]]
             for row in confusion.counts]  # fmt: skip
    heads = [f"{i} {name}" for i, name in enumerate(confusion.names)]
    return "\n".join(
        [
            "confusion matrix: rows are gold, columns predicted",
            *aligned(["", *columns], heads, cells),
        ]
    )


# ------------------------------------------------------------------------------- scores per type


@dataclass(frozen=True)
class TypeScores:
    """Precision, recall and F1 (x 100) of a type, with its number of golds (`support`) and of
    predictions (`predicted`)."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


def scores_per_type(
    counts: ClassCounts, names: Sequence[Hashable] | None = None
) -> list[TypeScores]:
    """The scores of each class.

    Args:
        names: the classes, in order; default: all, by decreasing support.
    """
    columns = by_class(counts.sums.astype(int))
    scores = {
        name: TypeScores(
            str(name),
            100 * hits / predicted if predicted else 0.0,
            100 * hits / gold if gold else 0.0,
            200 * hits / (gold + predicted),
            gold,
            predicted,
        )
        for name, hits, gold, predicted in zip(
            counts.classes, *(column.tolist() for column in columns), strict=True
        )
    }
    if names is None:
        return sorted(scores.values(), key=lambda one: (-one.support, one.name))
    return [scores[name] for name in names]


def scores_per_measure(lines: Sequence[Line]) -> list[TypeScores]:
    """Precision, recall and F1 of each coreference measure: over links (MUC), mentions (B-cubed and
    LEA, weighted), chains (CEAF-e) and mention detection."""
    sides = ([line[side] for line in lines] for side in ("gold", "prediction"))
    counts = counts_of_rows(*sides).sum(0).reshape(-1, 2, 2)
    scores = []
    for name, ((found, predicted), (known, gold)) in zip(MEASURES, counts.tolist(), strict=True):
        precision = 100 * found / predicted if predicted else 0.0
        recall = 100 * known / gold if gold else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        scores.append(TypeScores(name, precision, recall, f1, int(gold), int(predicted)))
    return scores


def counts_by_type(kind: str, lines: Sequence[Line]) -> ClassCounts:
    """The counts of hits, golds and predictions of each label, entity type (strict IOB2) or
    relation (correct only with the right head)."""
    count = {
        "labels": classification.labels_by_class,
        "label sets": multilabel.label_sets_by_class,
        "tags": tagging.entities_by_type,
        "trees": tagging.relations_by_type,
    }[kind]
    return count([line["gold"] for line in lines], [line["prediction"] for line in lines])


def types_text(types: Sequence[TypeScores]) -> str:
    """The scores per type as text."""
    shown = types[:MAX_TYPES]
    cells = [
        [f"{kind.precision:.2f}", f"{kind.recall:.2f}", f"{kind.f1:.2f}", str(kind.support)]
        for kind in shown
    ]
    head = ["type", "precision", "recall", "F1", "support"]
    lines = aligned(head, [kind.name for kind in shown], cells)
    if len(types) > len(shown):
        lines.append(f"  {len(types) - len(shown)} rarer types are in report.html")
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------- text


def aligned(head: Sequence[str], names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, with left-aligned names and right-aligned cells."""
    rows = [list(head), *([name, *row] for name, row in zip(names, cells, strict=True))]
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        line = "  " + first + " " * (widths[0] - width_of(first))
        for text, width in zip(others, widths[1:], strict=True):
            line += "  " + " " * (width - width_of(text)) + text
        lines.append(line.rstrip())
    return lines
