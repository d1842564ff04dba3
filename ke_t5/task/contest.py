"""Submissions to NIKL's yearly contest: the objects of the test file with their output filled in.

{"id": "nikluge-au-2022-test-000001", "input": "...", "output": 1}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

EMOTIONS = ("joy", "anticipation", "trust", "surprise", "disgust", "fear", "anger", "sadness")
INSULTING = ("not insulting", "insulting")
MEANT = ("negative", "positive")


def _emotions(names: Sequence[str]) -> dict[str, str]:
    return {name: str(name in names) for name in EMOTIONS}


def _aspects(names: Sequence[str]) -> list[list]:
    """The annotations; targets are not predicted, so their position is that of no target."""
    return [[*_split(name)] for name in names]


def _split(name: str) -> tuple[str, list, str]:
    aspect, _, polarity = name.rpartition("#")
    return aspect, [None, 0, 0], polarity


def _objects(
    rows: Sequence[str], predictions: Sequence, scores: object, *, to_output: Callable, unread: Any
) -> list[str]:
    """One JSON line per object of the test file."""
    lines = []
    for row, prediction in zip(rows, predictions, strict=True):
        content = json.loads(row)
        key = "annotation" if "sentence_form" in content else "output"
        content[key] = unread if prediction is None else to_output(prediction)
        lines.append(json.dumps(content, ensure_ascii=False))
    return lines


# Format -> a function from prediction to output, and the output for an unparsable prediction.
_OUTPUTS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "nikluge_ea": (_emotions, _emotions(())),
    "nikluge_au": (INSULTING.index, 0),
    "nikluge_iau": (str.upper, "NEGATIVE"),
    "nikluge_sa": (_aspects, []),
    "nikluge_nli": (float, 0.0),
    "nikluge_sc": (str, ""),
    "nikluge_gtps": (lambda text: [text], [""]),
    "nikluge_cci": (lambda number: f"inference_{number}", "inference_1"),
    "nikluge_dcs": (str, ""),
}
FORMATS = {
    name: partial(_objects, to_output=to_output, unread=unread)
    for name, (to_output, unread) in _OUTPUTS.items()
}
