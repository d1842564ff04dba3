"""`predictions.jsonl`: the model's prediction for each row, so that scores can be recomputed.

A line has `id`, `inputs`, `gold` and `prediction`, and where they apply: `score` and `sequences`;
`margin`, by how much the most likely of several choices leads the second; `gold_tokens` and
`prediction_tokens`, tags per token for a score per token if the tags are per character;
`probabilities` of all classes if a score or the choice of a threshold needs them. null means no
answer (no label, or an answer that could not be parsed); non-finite numbers are "NaN", "Infinity"
or "-Infinity".
"""

from __future__ import annotations

import inspect
import json
import math
import mmap
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ke_t5.files import write_json_lines
from ke_t5.pipe import Evaluated, Task
from ke_t5.pipe.lines import INPUTS, Line
from ke_t5.task.tags import CharacterTags

SIDES = ("gold", "prediction")
TOKENS = "_tokens"
PROBABILITIES = "probabilities"


def write_predictions(
    path: Path, task: Task, evaluated: Evaluated, *, first: Mapping[str, Any]
) -> None:
    """Writes a line for each row, with the fields of `first` at its start."""
    lines = lines_of(task, evaluated)
    write_json_lines(path, ({**first, **line} for line in lines))


def lines_of(task: Task, evaluated: Evaluated) -> Iterator[dict[str, Any]]:
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
    """Whether the task needs the row scores of decoding, for a metric or a threshold."""
    is_cut = task.problem_type == "multi_label_classification"
    return is_cut or any(
        "scores" in inspect.signature(metric).parameters for metric in task.metric_fns
    )


def _named(value: Any) -> Any:
    """The value, with strings for the numbers that JSON does not have."""
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def read_predictions(path: Path) -> tuple[list[Mapping[str, Any]], list[Any]]:
    """The predictions in a file of `write_predictions`, and the row scores ([] if there are none).

    The texts of the inputs are read from the file on demand.
    """
    if not path.stat().st_size:
        return [], []
    with path.open("rb") as file:
        # The mapping keeps the content, even if the file is replaced.
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    starts = array("q", [0])

    def written() -> Iterator[dict[str, Any]]:
        for line in iter(content.readline, b""):
            starts.append(content.tell())
            yield json.loads(line)

    def text_at(number: int) -> Any:
        return json.loads(content[starts[number] : starts[number + 1]])[INPUTS]

    return from_lines(written(), text_at)


def from_lines(
    written: Iterable[dict[str, Any]], text_at: Callable[[int], Any] | None = None
) -> tuple[list[Mapping[str, Any]], list[Any]]:
    """The same from parsed lines.

    Args:
        text_at: reads the `inputs` of a line by its number, so that they are not kept in memory.
    """
    lines, row_scores = [], []
    for number, line in enumerate(written):
        for side in SIDES:
            tokens = line.pop(side + TOKENS, None)
            if tokens is not None:
                line[side] = CharacterTags.shared(line[side], tokens)
        if PROBABILITIES in line:
            row_scores.append(_number(line.pop(PROBABILITIES)))
        # "NaN" is a number only if the gold answer is one; a label may have that name.
        if isinstance(line["gold"], (int, float)):
            line["prediction"] = _number(line["prediction"])
        if "score" in line:
            line["score"] = _number(line["score"])
        if text_at is not None and INPUTS in line:
            del line[INPUTS]
            lines.append(Line(line, text_at, number))
        else:
            lines.append(line)
    return lines, row_scores


def _number(value: Any) -> Any:
    """The numbers for the strings of `_named`, in lists too."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, str) else value
