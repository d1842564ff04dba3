"""`predictions.jsonl`: what a model predicts for each row, so that scores can be recomputed.

A line has `id`, `inputs`, `gold` and `prediction`, and `score` and `sequences` if the model gives
them; `margin`, how much likelier than the second the first of several choices is; `gold_tokens`
and `prediction_tokens`, the tags of tokens, if the tags are per character but a score is per token;
`probabilities` of all classes if a score needs them. null means no answer (no label, or an answer
that could not be parsed); numbers that are not finite are "NaN", "Infinity" or "-Infinity".
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ke_t5.files import write_json_lines
from ke_t5.pipe import Evaluated, Task
from ke_t5.task.tags import CharacterTags

Line = dict[str, Any]
SIDES = ("gold", "prediction")
TOKENS = "_tokens"
PROBABILITIES = "probabilities"


def write_predictions(
    path: Path, task: Task, evaluated: Evaluated, *, first: Mapping[str, Any]
) -> None:
    """Writes a line per row, each beginning with `first`."""
    lines = lines_of(task, evaluated)
    write_json_lines(path, ({**first, **line} for line in lines))


def lines_of(task: Task, evaluated: Evaluated) -> Iterator[Line]:
    """The lines of an evaluation, ready for JSON."""
    has_probabilities = len(evaluated.row_scores) > 0 and wants_scores(task)
    for row, line in enumerate(evaluated.predictions):
        fields = dict(line)
        for side in SIDES:
            if hasattr(line[side], "tokens"):
                fields[side + TOKENS] = line[side].tokens
        if has_probabilities:
            fields[PROBABILITIES] = evaluated.row_scores[row]
        yield {name: _named(value) for name, value in fields.items()}


def wants_scores(task: Task) -> bool:
    """Whether a metric of the task needs what decoding gave as scores of each row."""
    return any("scores" in inspect.signature(metric).parameters for metric in task.metric_fns)


def _named(value: Any) -> Any:
    """The value, with names for the numbers that JSON lacks."""
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def read_predictions(path: Path) -> tuple[list[Line], list[Any]]:
    """What `write_predictions` wrote: the predictions, and the scores of the rows ([] if none were
    written)."""
    with path.open(encoding="utf-8") as stream:
        return from_lines(json.loads(line) for line in stream)


def from_lines(written: Iterable[Line]) -> tuple[list[Line], list[Any]]:
    """The same from lines."""
    lines, row_scores = [], []
    for line in written:
        for side in SIDES:
            tokens = line.pop(side + TOKENS, None)
            if tokens is not None:
                line[side] = CharacterTags.shared(line[side], tokens)
        if PROBABILITIES in line:
            row_scores.append(_number(line.pop(PROBABILITIES)))
        # Only beside a gold number is "NaN" a number; a label may have that name.
        if isinstance(line["gold"], (int, float)):
            line["prediction"] = _number(line["prediction"])
        if "score" in line:
            line["score"] = _number(line["score"])
        lines.append(line)
    return lines, row_scores


def _number(value: Any) -> Any:
    """Numbers by the names that `_named` gives them, in lists too."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, str) else value
