"""APEACH, KOLD, K-HATERS, KorFin-ASC, PAWS-X and MASSIVE: a table per split, in a common format.

The readers of APEACH and PAWS-X were tested on the authors' files, the others only follow the data
sets' cards. The copies on the hub are untested.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ke_t5.errors import counted
from ke_t5.readers.json_rows import json_rows
from ke_t5.readers.kor_corpora import KHSD, one_of
from ke_t5.readers.release import (
    Hub,
    RawSplit,
    Release,
    Row,
    first_found,
    folders_under,
    raw_splits,
    take,
    take_optional,
)
from ke_t5.readers.streams import fault, place_of
from ke_t5.readers.table_files import read_table

logger = logging.getLogger(__name__)

# The formats that a table may be saved in, in the order of the search.
_ENDINGS = ("tsv", "csv", "jsonl", "json", "parquet")
_ALL = {"train": "train", "validation": "validation", "test": "test"}

# row of a file or of the hub, its location -> our row; None to skip it
ToRow = Callable[[Mapping[str, Any], str], Row | None]


def _rows(path: Path, split: str, *, to_row: ToRow) -> Iterator[Row]:
    num_left_out = 0
    for line, raw in read_table(path):
        row = to_row(raw, place_of(path, line))
        num_left_out += row is None
        if row is not None:
            yield row
    if num_left_out:
        rows = counted(num_left_out, "row")
        logger.warning("%s: left out %s without a translation", path, rows)


def _hub_row(raw: Row, *, to_row: ToRow, path: str) -> Iterator[Row]:
    row = to_row(raw, path)
    if row is not None:
        yield row


def _find(
    data_dir: Path, *, folders: tuple[str, ...], stems: Mapping[str, str], to_row: ToRow
) -> dict[str, RawSplit]:
    """The splits in the first folder that has one of the stems in one of the formats."""
    for folder in folders_under(data_dir, folders, is_direct=False):
        for ending in _ENDINGS:
            names = {split: f"{stem}.{ending}" for split, stem in stems.items()}
            if files := first_found(data_dir, [folder], names):
                return raw_splits(files, partial(_rows, to_row=to_row))
    return {}


def _release(
    name: str,
    to_row: ToRow,
    *,
    columns: Mapping[str, object],
    folders: tuple[str, ...],
    stems: Mapping[str, str],
    ending: str,
    hub: str,
    config: str | None = None,
    splits: Mapping[str, str] = _ALL,
    **facts: Any,
) -> Release:
    """A release whose files and copy on the hub have the same columns.

    Args:
        stems: split -> the file's name without its suffix.
        ending: the suffix of the authors' files.
        splits: our split -> the hub's.
    """
    return Release(
        name=name,
        columns=columns,
        find=partial(_find, folders=folders, stems=stems, to_row=to_row),
        layout=tuple(f"{folders[0]}/{stem}.{ending}" for stem in stems.values()),
        hub=Hub(
            path=hub,
            config=config,
            splits=splits,
            to_rows=partial(_hub_row, to_row=to_row, path=hub),
        ),
        **facts,
    )


# APEACH: the crowd-sourced sentences are the test split; the training split is Korean Hate Speech
# with two classes.

_APEACH_LABELS = ("Default", "Spoiled")


def _apeach_row(raw: Mapping[str, Any], where: str) -> Row:
    label = one_of(take(dict(raw), "class", str, where), _APEACH_LABELS, "class", where)
    return {"text": take(dict(raw), "text", str, where), "label": label}


def _two_classes(rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    for row in rows():
        yield {"text": row["text"], "label": _APEACH_LABELS[row["label"] != "none"]}


def _find_apeach(data_dir: Path) -> dict[str, RawSplit]:
    """The test split below `APEACH`, with train and validation of Korean Hate Speech."""
    found = _find(
        data_dir, folders=("APEACH", "APEACH/APEACH"), stems={"test": "test"}, to_row=_apeach_row
    )
    if not found:
        return {}
    comments = KHSD.find(data_dir).items()
    return {
        name: RawSplit(one.files, partial(_two_classes, one.rows)) for name, one in comments
    } | found


APEACH = Release(
    name="apeach",
    columns={"text": "string", "label": "string"},
    find=_find_apeach,
    layout=("APEACH/test.csv", *KHSD.layout),
    home="https://github.com/jason9693/APEACH",
    licence="CC BY-SA 4.0",
    hub=Hub(
        path="jason9693/APEACH",
        config=None,
        splits={"train": "train", "test": "test"},
        to_rows=partial(_hub_row, to_row=_apeach_row, path="jason9693/APEACH"),
    ),
)


# KOLD: comments on an article or a video, with its title; `OFF` is whether they are offensive.


def _kold_rows(path: Path, split: str) -> Iterator[Row]:
    for where, raw in json_rows(path):
        yield {
            "guid": take(raw, "guid", str, where),
            "title": take_optional(raw, "title", str, where) or "",
            "comment": take(raw, "comment", str, where),
            "label": str(take(raw, "OFF", bool, where)),
        }


def _find_kold(data_dir: Path) -> dict[str, RawSplit]:
    files = first_found(data_dir, ("KOLD/data", "KOLD", "kold", "."), {"train": "kold_v1.json"})
    return raw_splits(files, _kold_rows)


KOLD = Release(
    name="kold",
    columns=dict.fromkeys(("guid", "title", "comment", "label"), "string"),
    find=_find_kold,
    layout=("KOLD/data/kold_v1.json",),
    home="https://github.com/boychaboy/KOLD",
    licence="not stated",
    group="title",
)


# K-HATERS: earlier files name the two levels of hate 1_hate and 2_hate.

_KHATERS_LABELS = ("normal", "offensive", "L1_hate", "L2_hate")
_EARLIER = {"1_hate": "L1_hate", "2_hate": "L2_hate"}


def _khaters_row(raw: Mapping[str, Any], where: str) -> Row:
    label = take(dict(raw), "label", str, where)
    label = one_of(_EARLIER.get(label, label), _KHATERS_LABELS, "label", where)
    return {"text": take(dict(raw), "text", str, where), "label": label}


KHATERS = _release(
    "khaters",
    _khaters_row,
    columns={"text": "string", "label": "string"},
    folders=("K-HATERS", "khaters"),
    stems={"train": "train", "validation": "val", "test": "test"},
    ending="jsonl",
    hub="humane-lab/K-HATERS",
    home="https://github.com/ssu-humane/K-HATERS",
    licence="CC BY 4.0",
)


# KorFin-ASC: the sentiment of a headline towards a firm; a headline is repeated for each firm.

_FEELINGS = ("NEGATIVE", "NEUTRAL", "POSITIVE")


def _korfin_row(raw: Mapping[str, Any], where: str) -> Row:
    row = dict(raw)
    label = one_of(take(row, "sentiment", str, where), _FEELINGS, "sentiment", where)
    return {**{name: take(row, name, str, where) for name in ("title", "aspect")}, "label": label}


KORFIN = _release(
    "korfin_asc",
    _korfin_row,
    columns=dict.fromkeys(("title", "aspect", "label"), "string"),
    folders=("KorFin-ASC", "korfin-asc"),
    stems={"train": "train"},
    ending="csv",
    hub="amphora/korfin-asc",
    splits={"train": "train"},
    home="https://huggingface.co/datasets/amphora/korfin-asc",
    licence="CC BY-SA 4.0",
    group="title",
)


# PAWS-X: "NS" marks a sentence without a translation; the paper's 1,965 and 1,972 rows have none.


def _paws_row(raw: Mapping[str, Any], where: str) -> Row | None:
    row = dict(raw)
    sentences = {name: take(row, name, str, where) for name in ("sentence1", "sentence2")}
    if "NS" in sentences.values() or not all(sentences.values()):
        return None
    return {**sentences, "label": one_of(str(row.get("label")), ("0", "1"), "label", where)}


PAWS_X = _release(
    "paws_x_ko",
    _paws_row,
    columns=dict.fromkeys(("sentence1", "sentence2", "label"), "string"),
    folders=("x-final/ko", "paws-x/ko", "paws"),
    stems={"train": "translated_train", "validation": "dev_2k", "test": "test_2k"},
    ending="tsv",
    hub="google-research-datasets/paws-x",
    config="ko",
    home="https://github.com/google-research-datasets/paws",
    licence="free use with attribution to Google",
)


# MASSIVE: all partitions are in one file, and slots are marked in the text as "[date : 내일]".

_SLOT = re.compile(r"\[\s*([a-z_]+)\s*:\s*(.*?)\s*\]")
_PARTITIONS = {"train": "train", "validation": "dev", "test": "test"}


def slots_of(annotated: str) -> tuple[str, list[str]]:
    """The text without slot marks, and a tag for each character.

    >>> slots_of("[date : 내일] 깨워")
    ('내일 깨워', ['B-date', 'I-date', 'O', 'O', 'O'])
    """
    text, tags, position = "", [], 0
    for match in _SLOT.finditer(annotated):
        name, words = match.groups()
        text += annotated[position : match.start()] + words
        tags += ["O"] * (match.start() - position)
        tags += [f"B-{name}", *[f"I-{name}"] * (len(words) - 1)] if words else []
        position = match.end()
    rest = annotated[position:]
    return text + rest, tags + ["O"] * len(rest)


def _massive_row(raw: Mapping[str, Any], where: str) -> Row:
    row = dict(raw)
    text, tags = slots_of(take(row, "annot_utt", str, where))
    if "[" in text or "]" in text:
        raise fault(where, "'annot_utt' has brackets that are not a slot", "fix that row")
    return {
        "id": str(row.get("id")),
        "utterance": take(row, "utt", str, where),
        "intent": take(row, "intent", str, where),
        "text": text,
        "tags": tags,
    }


def _massive_rows(path: Path, split: str) -> Iterator[Row]:
    for where, raw in json_rows(path):
        if take(raw, "partition", str, where) == _PARTITIONS[split]:
            yield _massive_row(raw, where)


def _find_massive(data_dir: Path) -> dict[str, RawSplit]:
    folders = ("massive/1.0/data", "massive/1.1/data", "massive", "1.0/data", "1.1/data", ".")
    files = first_found(data_dir, folders, dict.fromkeys(_PARTITIONS, "ko-KR.jsonl"))
    return raw_splits(files, _massive_rows)


MASSIVE = Release(
    name="massive_ko",
    columns={
        **dict.fromkeys(("id", "utterance", "intent", "text"), "string"), "tags": ["string"],
    },
    find=_find_massive,
    layout=("massive/1.0/data/ko-KR.jsonl",),
    home="https://github.com/alexa/massive",
    licence="CC BY 4.0",
    hub=Hub(
        path="AmazonScience/massive",
        config="ko-KR",
        splits=_ALL,
        to_rows=partial(_hub_row, to_row=_massive_row, path="AmazonScience/massive"),
    ),
)  # fmt: skip
