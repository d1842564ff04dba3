"""KorQuAD 1.0, and SQuAD's format, which KLUE-MRC has too: articles, paragraphs, questions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ke_t5.readers.json_rows import json_rows
from ke_t5.readers.release import (
    Hub,
    RawSplit,
    Release,
    Row,
    first_found,
    raw_splits,
    records,
    take,
    take_optional,
    text_at,
)
from ke_t5.readers.streams import fault

_SPAN = [{"text": "string", "start": "int32"}]
READING_COLUMNS = {
    "guid": "string",
    "title": "string",
    "context": "string",
    "question": "string",
    "is_impossible": "bool",
    "answers": _SPAN,
    "plausible_answers": _SPAN,
}


def reading_rows(path: Path, split: str, *, id_key: str) -> Iterator[Row]:
    """Yields a row for each question of a file in SQuAD's format; `id_key` is the key of its id."""
    for where, article in json_rows(path, "data"):
        title = take_optional(article, "title", str, where)
        for paragraph in take(article, "paragraphs", list, where):
            context = take(paragraph, "context", str, where)
            for question in take(paragraph, "qas", list, where):
                guid = take(question, id_key, str, where)
                flat = {**question, "guid": guid, "title": title, "context": context}
                yield reading_row(flat, f"{where}, question {guid}", split != "test")


def reading_row(flat: Row, where: str, is_labelled: bool) -> Row:
    """The row of a question, given as a record that includes its context.

    The answers of an impossible question are only plausible; their offsets are kept but not
    checked (a quarter of KLUE's are wrong). Other answers must be in the context at their offsets.
    Without labels, `answers` may be missing and is then None.

    Raises:
        UserError: an answer is not at its offset, or an answerable question has no answer.
    """
    context = take(flat, "context", str, where)
    is_impossible = take_optional(flat, "is_impossible", bool, where) or False
    answers = _spans(flat, "answers", where)
    plausible = _spans(flat, "plausible_answers", where)
    if is_impossible:
        answers, plausible = [], answers + plausible
    elif not answers and is_labelled:
        raise fault(where, "answerable, but without an answer", "add it or set is_impossible")
    for answer in answers:
        text, start = answer["text"], answer["start"]
        text_at(context, start, start + len(text), text, where)
    return {
        "guid": take(flat, "guid", str, where),
        "title": take_optional(flat, "title", str, where) or None,
        "context": context,
        "question": take(flat, "question", str, where),
        "is_impossible": is_impossible,
        "answers": answers if answers or is_impossible else None,
        "plausible_answers": plausible,
    }


def _spans(flat: Row, name: str, where: str) -> list[Row]:
    spans = take_optional(flat, name, list, where) or []
    return [
        {"text": take(span, "text", str, where), "start": take(span, "answer_start", int, where)}
        for span in spans
    ]


def find_korquad(data_dir: Path) -> dict[str, RawSplit]:
    """KorQuAD's splits below `data_dir`."""
    names = {"train": "KorQuAD_v1.0_train.json", "validation": "KorQuAD_v1.0_dev.json"}
    paths = first_found(data_dir, ("KorQuAD", "korquad", "."), names)
    return raw_splits(paths, partial(reading_rows, id_key="id"))


def _hub_rows(row: Row) -> Iterator[Row]:
    flat = {**row, "guid": row.get("id"), "answers": records(row.get("answers"))}
    yield reading_row(flat, f"KorQuAD/squad_kor_v1, question {row.get('id')}", True)


KORQUAD = Release(
    name="korquad",
    columns=READING_COLUMNS,
    find=find_korquad,
    layout=("KorQuAD/KorQuAD_v1.0_train.json", "KorQuAD/KorQuAD_v1.0_dev.json"),
    home="https://korquad.github.io/KorQuad%201.0/",
    licence="CC BY-ND 2.0 KR",
    hub=Hub(
        path="KorQuAD/squad_kor_v1",
        config=None,
        splits={"train": "train", "validation": "validation"},
        to_rows=_hub_rows,
    ),
    group="context",
)
