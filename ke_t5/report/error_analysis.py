"""The rows that a report shows: the most informative errors, and tagged text in colour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ke_t5.errors import counted, counted_of
from ke_t5.pipe import Evaluated, Task
from ke_t5.pipe.scoring import SCORE_PREFIXES
from ke_t5.report import html, tables
from ke_t5.report.html import Mark, Span
from ke_t5.report.intervals import Bootstrap
from ke_t5.report.tables import Line
from ke_t5.task.metrics.tagging import entity_pairs, tree_words
from ke_t5.task.spans import entity_spans

NUM_ERRORS = 30
NUM_SENTENCES = 20  # shown in order after the errors
MAX_TEXT = 320  # characters of a text in a table
MAX_SENTENCE = 480
MAX_ANSWER = 240
NUM_MARGINS = 5  # bins of the margin between the two best choices
MAX_WORDS = 12  # wrong words shown of a sentence
MAX_CHAINS = 12  # wrong chains shown of a document
HAVE = ("has", "have")


@dataclass(frozen=True)
class Styled:
    """A table's text with its class in `report.css`."""

    text: str
    style: str


Cell = str | Styled | list[str]


@dataclass(frozen=True)
class Sentence:
    """A sentence with its gold and predicted entities."""

    head: str
    gold: Sequence[str | Mark]
    predicted: Sequence[str | Mark]


@dataclass(frozen=True)
class Chapter:
    """A chapter of the report.

    Attributes:
        rows: the rows of a table, or sentences if there is no head.
        numbers: the right-aligned columns.
        style: the table's class in `report.css`.
        hues: entity type -> colour, for the legend.
    """

    title: str
    rows: Sequence[Sequence[Cell] | Sentence]
    head: Sequence[str] = ()
    numbers: Sequence[int] = ()
    style: str = "full"
    note: str = ""
    hues: Mapping[str, int] = field(default_factory=dict)


def chapters(task: Task, kind: str, evaluated: Evaluated, bootstrap: Bootstrap) -> list[Chapter]:
    """The chapters of a report that show rows."""
    lines = tables.labelled_lines(evaluated)
    if not lines:
        return [_first_answers(evaluated.predictions)]
    if kind == "tags":
        return _tagged_chapters(lines)
    if kind == "labels" and all("margin" in line for line in lines):
        return [_margins(lines), _label_errors(lines)]
    if kind == "labels":
        return [_label_errors(lines)]
    if kind == "label sets":
        return [_label_set_errors(lines)]
    if kind == "trees":
        return [_tree_errors(lines)]
    if kind == "chains":
        return [_chain_errors(lines)]
    if kind == "numbers":
        return [_number_errors(lines)]
    return [_worst_answers(task, lines, bootstrap)]


def _worst(
    lines: Sequence[Line], badness: Callable[[Line], float], *, limit: int = NUM_ERRORS
) -> list[Line]:
    """The rows with a badness above 0, worst first; ties in their original order."""
    pairs = [(badness(line), line) for line in lines]
    wrong = [pair for pair in pairs if pair[0] > 0]
    return [line for _, line in sorted(wrong, key=lambda pair: -pair[0])[:limit]]


def _have_scores(lines: Sequence[Line]) -> bool:
    """Whether every row has a confidence score."""
    return bool(lines) and all(line.get("score") is not None for line in lines)


def _row(line: Line, *cells: Cell) -> list[Cell]:
    """A table row: the row's number, its text and the given cells."""
    return [str(line["id"]), html.shortened(line["inputs"], limit=MAX_TEXT), *cells]


def _answer(value: Any, *, style: str = "") -> Cell:
    """A gold or predicted answer as a cell."""
    if value is None:
        return Styled(tables.UNPARSABLE, "chip bad")
    if isinstance(value, (list, tuple)):
        value = " / ".join(map(str, value))
    if value == "":
        return Styled("(no answer)", "soft")
    text = html.shortened(value, limit=MAX_ANSWER)
    return Styled(text, style) if style else text


def _first_answers(lines: Sequence[Line]) -> Chapter:
    rows = [_row(line, _answer(line["prediction"])) for line in lines[:NUM_ERRORS]]
    return Chapter("The first answers", rows, ["row", "text", "predicted"], numbers=(0,))


# ------------------------------------------------------------------------------ labels, numbers


def _label_errors(lines: Sequence[Line]) -> Chapter:
    wrong = [line for line in lines if line["gold"] != line["prediction"]]
    has_scores = _have_scores(wrong)
    shown = _worst(wrong, lambda line: line["score"]) if has_scores else wrong[:NUM_ERRORS]
    rows = [
        _row(
            line,
            _answer(line["gold"], style="chip"),
            _answer(line["prediction"], style="chip bad"),
            *([f"{100 * line['score']:.1f} %"] if has_scores else []),
        )
        for line in shown
    ]
    head = ["row", "text", "gold", "predicted", *(["confidence"] if has_scores else [])]
    title = f"Most confident errors ({len(shown)})" if has_scores and shown else "Errors"
    note = counted_of(len(wrong), len(lines), "row", ("is", "are"), form=",") + " wrong."
    if not has_scores:
        note += " The model gives no probabilities: the first errors are shown."
    return Chapter(title, rows, head, numbers=(0, 4), note=note)


def _margins(lines: Sequence[Line]) -> Chapter:
    """The model's accuracy by the margin between its first and second choice."""
    edges = [*range(0, 100, 100 // NUM_MARGINS), 100]
    rows: list[list[Cell]] = []
    for low, high in itertools.pairwise(edges):
        inside = [
            line
            for line in lines
            if low <= 100 * line["margin"] < high or (high == 100 == 100 * line["margin"])
        ]
        right = sum(line["gold"] == line["prediction"] for line in inside)
        share = f"{100 * right / len(inside):.1f} %" if inside else "–"
        rows.append([f"{low} to {high}", f"{len(inside):,}", share])
    head = ["margin, points of probability", "rows", "right"]
    title = "Margins between the first choice and the second"
    return Chapter(title, rows, head, numbers=(1, 2), style="")


def _label_set_errors(lines: Sequence[Line]) -> Chapter:
    wrong = [line for line in lines if line["gold"] != line["prediction"]]
    shown = _worst(lines, _num_wrong_labels)
    rows = [
        _row(
            line,
            _answer(" / ".join(line["gold"]) or "(no label)"),
            _answer(line["prediction"] and " / ".join(line["prediction"])),
            _differences(line),
        )
        for line in shown
    ]
    head = ["row", "text", "gold", "predicted", f"{html.MISSED} missed, {html.FALSE_ALARM} false"]
    note = f"{counted_of(len(wrong), len(lines), 'row', HAVE, form=',')} a wrong label."
    return Chapter(f"Rows with the most wrong labels ({len(shown)})", rows, head, (0,), note=note)


def _differences(line: Line) -> list[str]:
    """The missed labels and the false alarms, each with its sign."""
    gold, predicted = line["gold"], line["prediction"] or []
    missed = [f"{html.MISSED} {name}" for name in gold if name not in predicted]
    return missed + [f"{html.FALSE_ALARM} {name}" for name in predicted if name not in gold]


def _num_wrong_labels(line: Line) -> int:
    return len(_differences(line)) or int(line["prediction"] is None)


def _number_errors(lines: Sequence[Line]) -> Chapter:
    def distance(line: Line) -> float:
        return abs(line["prediction"] - line["gold"])

    read = [line for line in lines if line["prediction"] is not None]
    shown = _worst([line for line in read if math.isfinite(line["prediction"])], distance)
    rows = [
        _row(line, *(f"{x:.2f}" for x in (line["gold"], line["prediction"], distance(line))))
        for line in shown
    ]
    num_unread = len(lines) - len(read)
    unread = counted(num_unread, "answer is not a number", "answers are not numbers", form=",")
    return Chapter(
        f"Largest errors ({len(shown)})",
        rows,
        ["row", "text", "gold", "predicted", "distance"],
        numbers=(0, 2, 3, 4),
        note=f"{unread}." if num_unread else "",
    )


# -------------------------------------------------------------------------------------- answers


def _worst_answers(task: Task, lines: Sequence[Line], bootstrap: Bootstrap) -> Chapter:
    """The rows with the lowest values of a score that is a mean over rows."""
    values = bootstrap.row_values
    name = next(iter(graded_first(task, values)), None)
    if name is None:
        value_of = {id(line): 100.0 * (line["gold"] == line["prediction"]) for line in lines}
    else:
        value_of = {id(line): value for line, value in zip(lines, values[name], strict=True)}
    shown = _worst(lines, lambda line: 100.0 - value_of[id(line)])
    rows = [
        _row(
            line,
            _answer(line["gold"] or ""),
            _answer(line["prediction"]),
            f"{value_of[id(line)]:.1f}",
        )
        for line in shown
    ]
    head = ["row", "text", "gold", "predicted", name or "equal"]
    title = f"Worst answers ({len(shown)})"
    return Chapter(title, rows, head, numbers=(0, 4), style="full answers")


def graded_first(task: Task, values: Mapping[str, np.ndarray]) -> list[str]:
    """The scores that are means over rows, starting with the most informative about a row."""
    best = [prefix + task.best.metric for prefix in SCORE_PREFIXES] if task.best else []
    # All errors of an exact match are equal; a graded score tells which are the worst.
    names = sorted(values, key=lambda name: (name not in best, name))
    graded = [name for name in names if len(set(values[name].tolist())) > 2]
    return list(dict.fromkeys([*graded, *names]))


# ---------------------------------------------------------------------------------------- trees


def _tree_errors(lines: Sequence[Line]) -> Chapter:
    wrong = {id(line): wrong_words(line) for line in lines}
    shown = _worst(lines, lambda line: len(wrong[id(line)]))
    rows = [
        _row(
            line,
            f"{len(wrong[id(line)])} of {len(line['gold']['heads'])}",
            wrong[id(line)][:MAX_WORDS],
        )
        for line in shown
    ]
    head = ["row", "sentence", "wrong words", "word: gold → predicted (relation of head)"]
    return Chapter(f"Sentences with the most errors ({len(shown)})", rows, head, numbers=(0, 2))


def wrong_words(line: Line) -> list[str]:
    """The words with a wrong head or relation, each with gold and prediction."""
    words = ["(root)", *line["inputs"].split(" ")]

    def described(head: int | None, relation: str | None) -> str:
        if head is None:
            return "nothing"
        return f"{relation} of {words[head] if head < len(words) else head}"

    pairs = tree_words(line["gold"], line["prediction"])
    return [
        f"{words[i] if i < len(words) else i}: {described(*gold)} → {described(*predicted)}"
        for i, (*gold, head, relation) in enumerate(pairs, start=1)
        if gold != (predicted := [head, relation])
    ]


# --------------------------------------------------------------------------------------- chains


def _chain_errors(lines: Sequence[Line]) -> Chapter:
    wrong = {id(line): wrong_chains(line) for line in lines}
    shown = _worst(lines, lambda line: len(wrong[id(line)]))
    rows = [_row(line, f"{len(line['gold'])}", wrong[id(line)][:MAX_CHAINS]) for line in shown]
    head = ["row", "document", "chains", f"{html.MISSED} missed, {html.FALSE_ALARM} false"]
    title = f"Documents with the most wrong chains ({len(shown)})"
    return Chapter(
        title, rows, head, numbers=(0, 2), note="A chain is right with all its mentions."
    )


def wrong_chains(line: Line) -> list[str]:
    """The missed and the falsely predicted chains of a document, with their signs and mentions."""
    text = line["inputs"]
    gold, predicted = (
        {tuple(map(tuple, chain)) for chain in line[side] or ()} for side in ("gold", "prediction")
    )
    signed = [(chain, html.MISSED) for chain in gold - predicted]
    signed += [(chain, html.FALSE_ALARM) for chain in predicted - gold]
    return [
        html.shortened(f"{sign} {' · '.join(text[a:b] for a, b in chain)}", limit=MAX_ANSWER)
        for chain, sign in sorted(signed)
    ]


# ----------------------------------------------------------------------------------------- tags


def _tagged_chapters(lines: Sequence[Line]) -> list[Chapter]:
    kinds = {tag[2:] for line in lines for side in ("gold", "prediction")
             for tag in line[side] or () if tag != "O"}  # fmt: skip
    hue_of = html.hues(kinds)
    wrong = [line for line in lines if _num_wrong(line)]
    title = "Sentences with the most wrong entities"
    shown = _worst(wrong, _num_wrong)
    if _have_scores(wrong):
        title = "Most confident errors"
        shown = _worst(wrong, lambda line: line["score"])
    ids = {id(line) for line in shown}
    others = [line for line in lines if id(line) not in ids][:NUM_SENTENCES]
    sentences = counted_of(len(wrong), len(lines), "sentence", HAVE, form=",")
    return [
        Chapter(
            f"{title} ({len(shown)})",
            [_sentence(line, hue_of) for line in shown],
            note=f"{sentences} a wrong entity.",
            hues=hue_of,
        ),
        Chapter(
            f"Other sentences in order ({len(others)})",
            [_sentence(line, hue_of) for line in others],
        ),
    ]


def _num_wrong(line: Line) -> int:
    pairs = entity_pairs(line["gold"], line["prediction"])
    return sum(gold != predicted for gold, predicted in pairs)


def _sentence(line: Line, hue_of: Mapping[str, int]) -> Sentence:
    text = line["inputs"]
    gold, predicted = (entities_of(text, line[side]) for side in ("gold", "prediction"))
    if gold is None or predicted is None:
        tags = (" ".join(line[side] or ()) for side in ("gold", "prediction"))
        sides = [[html.shortened(side, limit=MAX_SENTENCE)] for side in tags]
        text = html.shortened(text, limit=MAX_TEXT)
        return Sentence(f"row {line['id']} · {text}", *sides)
    wrong = set(gold) ^ set(predicted)
    both = [[Span(*span, is_wrong=span in wrong) for span in side] for side in (gold, predicted)]
    window = html.window_of(text, [*both[0], *both[1]], limit=MAX_SENTENCE)
    sides = [
        html.tagged(text, side, hue_of=hue_of, sign=sign, window=window)
        for side, sign in zip(both, (html.MISSED, html.FALSE_ALARM), strict=True)
    ]
    return Sentence(f"row {line['id']} · {len(wrong) or 'none'} wrong", *sides)


def entities_of(text: str, tags: Sequence[str] | None) -> list[tuple[int, int, str]] | None:
    """The entities as (start, end, type) in characters, from a tag per non-space character; None if
    the number of tags differs."""
    places = [i for i, character in enumerate(text) if character != " "]
    if tags is None:
        return []
    if len(places) != len(tags):
        return None
    return [(places[start], places[end - 1] + 1, kind) for start, end, kind in entity_spans(tags)]
