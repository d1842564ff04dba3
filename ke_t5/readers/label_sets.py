"""K-MHaS and KOTE: comments with any number of labels.

Both are tab-separated and quoted as by a spreadsheet, with labels as comma-separated numbers. The
hub's copies are known from their cards and untested here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ke_t5.readers.kor_corpora import found_splits, hub_rows, one_of
from ke_t5.readers.release import Hub, Release, Row
from ke_t5.readers.streams import tab_lines, table

_KMHAS_LABELS = tuple(map(str, range(9)))
_KOTE_LABELS = tuple(map(str, range(44)))
_KMHAS_LINES = {"train": 78_978, "validation": 8_777, "test": 21_940}
_KOTE_LINES = {"train": 40_000, "validation": 5_000, "test": 5_000}


def _numbers(field: str, known: Sequence[str], column: str, where: str) -> list[str]:
    """The distinct labels of a row."""
    numbers = [one_of(part.strip(), known, column, where) for part in field.split(",")]
    return list(dict.fromkeys(numbers))


def _hub_sets(row: Row, **columns: str) -> Iterator[Row]:
    """Yields the hub's row with our column names; class numbers become strings."""
    for ours in hub_rows(row, **columns):
        labels = ours["label"]
        yield {**ours, "label": None if labels is None else [str(number) for number in labels]}


def _kmhas_rows(path: Path, split: str) -> Iterator[Row]:
    columns, released = ("document", "label"), _KMHAS_LINES[split]
    for line, raw in table(path, columns, quoted=True, released=released):
        labels = _numbers(raw["label"], _KMHAS_LABELS, "label", f"{path}:{line}")
        yield {"text": raw["document"], "label": labels}


KMHAS = Release(
    name="kmhas",
    columns={"text": "string", "label": ["string"]},
    find=partial(
        found_splits,
        folders=("K-MHaS/data", "K-MHaS", "kmhas"),
        names={
            "train": "kmhas_train.txt", "validation": "kmhas_valid.txt", "test": "kmhas_test.txt",
        },
        rows=_kmhas_rows,
    ),
    layout=("K-MHaS/kmhas_train.txt", "K-MHaS/kmhas_valid.txt", "K-MHaS/kmhas_test.txt"),
    home="https://github.com/adlnlp/K-MHaS",
    licence="CC BY-SA 4.0",
    hub=Hub(
        path="jeanlee/kmhas_korean_hate_speech",
        config=None,
        splits={"train": "train", "validation": "validation", "test": "test"},
        to_rows=partial(_hub_sets, text="text", label="label"),
        class_names=False,
    ),
)  # fmt: skip


def _kote_rows(path: Path, split: str) -> Iterator[Row]:
    """Yields the rows of a file without a header."""
    fields = tab_lines(path, 3, quoted=True, released=_KOTE_LINES[split])
    for line, (number, text, labels) in fields:
        where = f"{path}:{line}"
        yield {"id": number, "text": text, "label": _numbers(labels, _KOTE_LABELS, "label", where)}


KOTE = Release(
    name="kote",
    columns={"id": "string", "text": "string", "label": ["string"]},
    find=partial(
        found_splits,
        folders=("KOTE", "kote"),
        names={"train": "train.tsv", "validation": "val.tsv", "test": "test.tsv"},
        rows=_kote_rows,
        is_direct=False,
    ),
    layout=("KOTE/train.tsv", "KOTE/val.tsv", "KOTE/test.tsv"),
    home="https://github.com/searle-j/KOTE",
    licence="MIT",
    hub=Hub(
        path="searle-j/kote",
        config=None,
        splits={"train": "train", "validation": "validation", "test": "test"},
        to_rows=partial(_hub_sets, id="ID", text="text", label="labels"),
        class_names=False,
    ),
)
