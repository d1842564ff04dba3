"""KoBEST: BoolQ, COPA, HellaSwag, SentiNeg and WiC.

Tab-separated tables without quoting. The order of SentiNeg's columns differs between its splits,
and the case of truth values varies. The hub's copy is known from its card and untested here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from ke_t5.readers.kor_corpora import found_splits, hub_rows, one_of
from ke_t5.readers.release import Hub, Release, Row
from ke_t5.readers.streams import table

_TRUTH = {"true": "1", "false": "0"}


def _rows(
    path: Path,
    split: str,
    *,
    columns: Mapping[str, str],
    label: str,
    known: Sequence[str],
    to_key: Callable[[str], str] = str,
    shown: Sequence[str] = (),
) -> Iterator[Row]:
    """Yields the rows of a table.

    Args:
        columns: our column -> the file's.
        label: the file's label column.
        to_key: converts a value of that column to one of `known`.
        shown: the values of that column, for messages; default: `known`.
    """
    for line, raw in table(path, (*columns.values(), label)):
        value = to_key(raw[label])
        if value not in known:
            one_of(raw[label], shown or known, label, f"{path}:{line}")
        yield {**{ours: raw[theirs] for ours, theirs in columns.items()}, "label": value}


def _truth(value: str) -> str:
    """ "1" or "0" for a truth value, ignoring case; other values are returned unchanged."""
    return _TRUTH.get(value.lower(), value)


def _hub_choices(row: Row, **columns: str) -> Iterator[Row]:
    """Yields the hub's row with choices numbered from 1, as in the files, instead of 0."""
    for ours in hub_rows(row, **columns):
        label = ours["label"]
        yield {**ours, "label": None if label is None else str(int(label) + 1)}


def _release(
    name: str,
    folder: str,
    columns: Mapping[str, str],
    hub: Mapping[str, str],
    *,
    to_rows: Callable[..., Iterator[Row]] = hub_rows,
    **labels: object,
) -> Release:
    """The release of one of the five tasks.

    Args:
        columns: our text column -> the files'.
        hub: our text column -> the hub's.
        labels: arguments of `_rows`.
    """
    return Release(
        name=f"kobest_{name}",
        columns=dict.fromkeys((*columns, "label"), "string"),
        find=partial(
            found_splits,
            folders=(f"KoBEST/v1.0/{folder}", f"KoBEST/{folder}", f"v1.0/{folder}", folder),
            names={"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
            rows=partial(_rows, columns=columns, **labels),
            is_direct=False,
        ),
        layout=tuple(f"KoBEST/v1.0/{folder}/{part}.tsv" for part in ("train", "dev", "test")),
        home="https://github.com/SKT-LSL/KoBEST_datarepo",
        licence="CC BY-SA 4.0",
        hub=Hub(
            path="skt/kobest_v1",
            config=name,
            splits={"train": "train", "validation": "validation", "test": "test"},
            to_rows=partial(to_rows, **hub, label="label"),
            class_names=False,
        ),
    )


BOOLQ = _release(
    "boolq",
    "BoolQ",
    {"paragraph": "Text", "question": "Question"},
    {"paragraph": "paragraph", "question": "question"},
    label="Answer",
    known=("1", "0"),
    to_key=_truth,
    shown=("True", "False"),
)
COPA = _release(
    "copa",
    "COPA",
    {"premise": "sentence", "question": "question", "choice1": "1", "choice2": "2"},
    {"premise": "premise", "question": "question",
     "choice1": "alternative_1", "choice2": "alternative_2"},
    to_rows=_hub_choices,
    label="Answer",
    known=("1", "2"),
)  # fmt: skip
HELLASWAG = _release(
    "hellaswag",
    "HellaSwag",
    {"context": "context", **{f"choice{i}": f"choice{i}" for i in (1, 2, 3, 4)}},
    {"context": "context", **{f"choice{i}": f"ending_{i}" for i in (1, 2, 3, 4)}},
    label="label",
    known=("0", "1", "2", "3"),
)
# The texts of the test split are negated; `Label` is the label of the negated text.
SENTINEG = _release(
    "sentineg", "SentiNeg", {"text": "Text"}, {"text": "sentence"}, label="Label", known=("0", "1")
)
# The target word is in brackets in both sentences.
WIC = _release(
    "wic",
    "WiC",
    {"word": "Target", "sentence1": "SENTENCE1", "sentence2": "SENTENCE2"},
    {"word": "word", "sentence1": "context_1", "sentence2": "context_2"},
    label="ANSWER",
    known=("1", "0"),
    to_key=_truth,
    shown=("True", "False"),
)
