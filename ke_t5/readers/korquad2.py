"""KorQuAD 2.1: whole Wikipedia pages in HTML, with one answer per question.

The reader follows descriptions, as no file was available; the hub's copy is untested. Contexts
keep their HTML tags, and an answer may be a table.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ke_t5.errors import counted
from ke_t5.readers.json_rows import json_rows
from ke_t5.readers.korquad import READING_COLUMNS
from ke_t5.readers.release import (
    Hub,
    RawSplit,
    Release,
    Row,
    files_below,
    folders_under,
    take,
    take_optional,
)

logger = logging.getLogger(__name__)

_FOLDERS = ("KorQuAD_2.1", "KorQuAD2", "korquad2", "KorQuAD2.1")
_PARTS = {"train": "train", "validation": "dev"}
_ROOT = "KorQuAD_2.1"


def _rows(files: Sequence[Path]) -> Iterator[Row]:
    """Yields the questions, without those whose answer is not at its offset."""
    num_wrong, first_wrong = 0, ""
    for path in files:
        for where, page in json_rows(path, "data"):
            title = take_optional(page, "title", str, where)
            context = take(page, "context", str, where)
            for question in take(page, "qas", list, where):
                guid = take(question, "id", str, where)
                row = _row({**question, "title": title, "context": context}, where)
                if row is None:
                    num_wrong, first_wrong = num_wrong + 1, first_wrong or guid
                else:
                    yield row
    if num_wrong:
        message = "%s: left out %s with an answer that is not at its offset (first: %s)"
        logger.warning(message, files[0].parent, counted(num_wrong, "question"), first_wrong)


def _row(flat: Row, where: str) -> Row | None:
    """The row of a question; None if its answer is not in the context at its offset."""
    guid = take(flat, "id", str, where)
    where = f"{where}, question {guid}"
    context, answer = take(flat, "context", str, where), take_optional(flat, "answer", dict, where)
    answers = None
    if answer is not None:
        text, start = take(answer, "text", str, where), take(answer, "answer_start", int, where)
        if not text or start < 0 or not context.startswith(text, start):
            return None
        answers = [{"text": text, "start": start}]
    return {
        "guid": guid,
        "title": take_optional(flat, "title", str, where) or None,
        "context": context,
        "question": take(flat, "question", str, where),
        "is_impossible": False,
        "answers": answers,
        "plausible_answers": [],
    }


def _hub_rows(row: Row) -> Iterator[Row]:
    found = _row(row, "KorQuAD/squad_kor_v2")
    if found is not None:
        yield found


def _find(data_dir: Path) -> dict[str, RawSplit]:
    """The splits' shards, by the name of their file or folder."""
    for folder in folders_under(data_dir, _FOLDERS, is_direct=False):
        shards = [path for path in files_below(data_dir / folder) if path.suffix == ".json"]
        found = {
            split: tuple(p for p in shards if part in str(p.relative_to(data_dir / folder)).lower())
            for split, part in _PARTS.items()
        }
        if any(found.values()):
            return {
                split: RawSplit(files, partial(_rows, files))
                for split, files in found.items()
                if files
            }
    return {}


KORQUAD2 = Release(
    name="korquad2",
    columns=READING_COLUMNS,
    find=_find,
    layout=(f"{_ROOT}/train/*.json", f"{_ROOT}/dev/*.json"),
    home="https://korquad.github.io/",
    licence="CC BY-ND 2.0 KR",
    hub=Hub(
        path="KorQuAD/squad_kor_v2",
        config=None,
        splits={"train": "train", "validation": "validation"},
        to_rows=_hub_rows,
    ),
    group="context",
)
