"""The rows that a report shows: the errors worth reading, and tagged text in colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ke_t5.pipe import Evaluated, Task
from ke_t5.pipe.evaluation import SCORE_PREFIXES
from ke_t5.report import html, tables
from ke_t5.report.html import Html, Span
from ke_t5.report.intervals import Bootstrap
from ke_t5.report.tables import Line
from ke_t5.task.metrics.tagging import entity_pairs, tree_words
from ke_t5.task.spans import entity_spans

NUM_ERRORS = 30
NUM_SENTENCES = 20  # as they come, besides the errors
MOST_CHARACTERS = 320  # of a text in a table
MOST_OF_SENTENCE = 480
MOST_OF_ANSWER = 240
MISSED, FALSE_ALARM = "−", "✗"


def sections(task: Task, kind: str, evaluated: Evaluated, bootstrap: Bootstrap) -> list[Html]:
    """The chapters of a report that show rows."""
    lines = tables.labelled_lines(evaluated)
    if not lines:
        return [_first_answers(evaluated.predictions)]
    if kind == "tags":
        return _tagged_sections(lines)
    if kind == "labels":
        return [_label_errors(lines)]
    if kind == "trees":
        return [_tree_errors(lines)]
    if kind == "numbers":
        return [_number_errors(lines)]
    return [_worst_answers(task, lines, bootstrap)]


def _most(
    lines: Sequence[Line], badness: Callable[[Line], float], *, most: int = NUM_ERRORS
) -> list[Line]:
    """The rows with the greatest badness above 0, the worst first; of equal ones the earlier."""
    judged = [(badness(line), line) for line in lines]
    wrong = [pair for pair in judged if pair[0] > 0]
    return [line for _, line in sorted(wrong, key=lambda pair: -pair[0])[:most]]


def _have_scores(lines: Sequence[Line]) -> bool:
    """Whether the model said of each of these rows how sure it was."""
    return bool(lines) and all(line.get("score") is not None for line in lines)


def _text(line: Line) -> str:
    return html.shortened(line["inputs"], most=MOST_CHARACTERS)


def _answer(value: Any) -> Html:
    """A gold or predicted answer for people."""
    if value is None:
        return html.tag("span", tables.UNPARSABLE, class_="chip bad")
    if isinstance(value, (list, tuple)):
        value = " / ".join(map(str, value))
    if value == "":
        return html.tag("span", "(no answer)", class_="soft")
    return html.escape(html.shortened(value, most=MOST_OF_ANSWER))


def _chapter(title: str, count: int, content: Html, *, note: str = "") -> Html:
    if not count:
        return html.section(title, html.tag("p", "There is none.", class_="soft"))
    return html.section(title, html.tag("p", note, class_="soft") if note else "", content)


def _first_answers(lines: Sequence[Line]) -> Html:
    shown = lines[:NUM_ERRORS]
    rows = [[line["id"], _text(line), _answer(line["prediction"])] for line in shown]
    content = html.table(["row", "text", "predicted"], rows, numbers=(0,), class_="full")
    return _chapter("The first answers", len(shown), content)


# ------------------------------------------------------------------------------ labels, numbers


def _label_errors(lines: Sequence[Line]) -> Html:
    wrong = [line for line in lines if line["gold"] != line["prediction"]]
    has_scores = _have_scores(wrong)
    shown = _most(wrong, lambda line: line["score"]) if has_scores else wrong[:NUM_ERRORS]
    rows = [
        [
            line["id"],
            _text(line),
            html.tag("span", _answer(line["gold"]), class_="chip"),
            html.tag("span", _answer(line["prediction"]), class_="chip bad")
            if line["prediction"] is not None
            else _answer(None),
            *([f"{100 * line['score']:.1f} %"] if has_scores else []),
        ]
        for line in shown
    ]
    head = ["row", "text", "gold", "predicted", *(["confidence"] if has_scores else [])]
    title = f"Most confident errors ({len(shown)})" if has_scores else "Errors"
    note = f"{len(wrong):,} of {len(lines):,} rows are wrong."
    if not has_scores:
        note += " The model gave no probabilities: these are the first."
    content = html.table(head, rows, numbers=(0, 4), class_="full")
    return _chapter(title if shown else "Errors", len(shown), content, note=note)


def _number_errors(lines: Sequence[Line]) -> Html:
    def distance(line: Line) -> float:
        return abs(line["prediction"] - line["gold"])

    read = [line for line in lines if line["prediction"] is not None]
    shown = _most([line for line in read if math.isfinite(line["prediction"])], distance)
    rows = [
        [line["id"], _text(line), f"{line['gold']:.2f}", f"{line['prediction']:.2f}",
         f"{distance(line):.2f}"]
        for line in shown
    ]  # fmt: skip
    head = ["row", "text", "gold", "predicted", "distance"]
    content = html.table(head, rows, numbers=(0, 2, 3, 4), class_="full")
    num_unread = len(lines) - len(read)
    note = f"{num_unread:,} answers were no number." if num_unread else ""
    return _chapter(f"Farthest answers ({len(shown)})", len(shown), content, note=note)


# -------------------------------------------------------------------------------------- answers


def _worst_answers(task: Task, lines: Sequence[Line], bootstrap: Bootstrap) -> Html:
    """The rows with the least value of a score that is a mean over rows."""
    values = bootstrap.row_values
    best = [prefix + task.best.metric for prefix in SCORE_PREFIXES] if task.best else []
    # Of an exact match all errors are equal; a softer score says which are the worst.
    names = sorted(values, key=lambda name: (name not in best, name))
    graded = [name for name in names if len(set(values[name].tolist())) > 2]
    name = next(iter([*graded, *names]), None)
    if name is None:
        value_of = {id(line): 100.0 * (line["gold"] == line["prediction"]) for line in lines}
    else:
        value_of = {id(line): value for line, value in zip(lines, values[name], strict=True)}
    shown = _most(lines, lambda line: 100.0 - value_of[id(line)])
    rows = [
        [line["id"], _text(line), _answer(line["gold"] or ""), _answer(line["prediction"]),
         f"{value_of[id(line)]:.1f}"]
        for line in shown
    ]  # fmt: skip
    head = ["row", "text", "gold", "predicted", name or "equal"]
    content = html.table(head, rows, numbers=(0, 4), class_="full answers")
    return _chapter(f"Worst answers ({len(shown)})", len(shown), content)


# ---------------------------------------------------------------------------------------- trees


def _tree_errors(lines: Sequence[Line]) -> Html:
    def num_wrong(line: Line) -> float:
        return float(len(_wrong_words(line)))

    shown = _most(lines, num_wrong)
    rows = [
        [line["id"], _text(line), f"{len(_wrong_words(line))} of {len(line['gold']['heads'])}",
         html.join(html.tag("div", told) for told in _wrong_words(line)[:12])]
        for line in shown
    ]  # fmt: skip
    head = ["row", "sentence", "wrong words", "word: gold → predicted (relation of head)"]
    content = html.table(head, rows, numbers=(0, 2), class_="full")
    return _chapter(f"Sentences with the most errors ({len(shown)})", len(shown), content)


def _wrong_words(line: Line) -> list[str]:
    words = ["(root)", *line["inputs"].split(" ")]

    def told(head: int | None, relation: str | None) -> str:
        if head is None:
            return "nothing"
        return f"{relation} of {words[head] if head < len(words) else head}"

    columns = tree_words(line["gold"], line["prediction"])
    return [
        f"{words[i] if i < len(words) else i}: {told(head, relation)} → {told(said_head, said)}"
        for i, (head, relation, said_head, said) in enumerate(columns, start=1)
        if (head, relation) != (said_head, said)
    ]


# ----------------------------------------------------------------------------------------- tags


def _tagged_sections(lines: Sequence[Line]) -> list[Html]:
    kinds = {tag[2:] for line in lines for side in ("gold", "prediction")
             for tag in line[side] or () if tag != "O"}  # fmt: skip
    hue_of = html.hues(kinds)
    wrong = [line for line in lines if _num_wrong(line)]
    title = "Sentences with the most wrong entities"
    shown = _most(wrong, _num_wrong)
    if _have_scores(wrong):
        title = "Most confident errors"
        shown = _most(wrong, lambda line: line["score"])
    legend = html.tag(
        "p",
        *(html.mark("", kind, hue) for kind, hue in hue_of.items()),
        html.tag("span", f" dashed: {MISSED} missed, {FALSE_ALARM} not in the gold", class_="soft"),
        class_="legend",
    )
    errors = html.join([legend, *(_sentence(line, hue_of) for line in shown)])
    chosen = {id(line) for line in shown}
    others = [line for line in lines if id(line) not in chosen][:NUM_SENTENCES]
    plain = html.join(_sentence(line, hue_of) for line in others)
    note = f"{len(wrong):,} of {len(lines):,} sentences have a wrong entity."
    return [
        _chapter(f"{title} ({len(shown)})", len(shown), errors, note=note),
        _chapter(f"Other sentences as they come ({len(others)})", len(others), plain),
    ]


def _num_wrong(line: Line) -> int:
    pairs = entity_pairs(line["gold"], line["prediction"])
    return sum(gold != predicted for gold, predicted in pairs)


def _sentence(line: Line, hue_of: Mapping[str, int]) -> Html:
    """A sentence with its entities in colours, gold beside predicted."""
    text = line["inputs"]
    gold, predicted = (_spans(text, line[side]) for side in ("gold", "prediction"))
    if gold is None or predicted is None:
        tags = (" ".join(line[side] or ()) for side in ("gold", "prediction"))
        sides = [html.shortened(side, most=MOST_OF_SENTENCE) for side in tags]
        head = html.tag("p", f"row {line['id']} · {_text(line)}")
    else:
        wrong = set(gold) ^ set(predicted)
        both = [[Span(*span, is_wrong=span in wrong) for span in side]
                for side in (gold, predicted)]  # fmt: skip
        window = html.window_of(text, [*both[0], *both[1]], most=MOST_OF_SENTENCE)
        sides = [
            html.tagged(text, side, hue_of=hue_of, sign=sign, window=window)
            for side, sign in zip(both, (MISSED, FALSE_ALARM), strict=True)
        ]
        head = html.tag("p", f"row {line['id']} · {len(wrong) or 'none'} wrong")
    columns = [
        html.tag("div", html.tag("h4", name), side)
        for name, side in zip(("gold", "predicted"), sides, strict=True)
    ]
    return html.tag("div", head, html.tag("div", *columns, class_="sides"), class_="sentence")


def _spans(text: str, tags: Sequence[str] | None) -> list[tuple[int, int, str]] | None:
    """The entities as characters of the text, from a tag per character that is no space; None
    where the tags are not that many."""
    places = [i for i, character in enumerate(text) if character != " "]
    if tags is None:
        return []
    if len(places) != len(tags):
        return None
    return [(places[start], places[end - 1] + 1, kind) for start, end, kind in entity_spans(tags)]
