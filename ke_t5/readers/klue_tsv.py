"""KLUE's files with a token per line: NER (a character and its tag) and DP (a word in six
fields)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ke_t5.errors import counted
from ke_t5.readers.release import Row, take
from ke_t5.readers.streams import check_last_sentence, fault, lines
from ke_t5.readers.trees import TreeFaults

logger = logging.getLogger(__name__)

_TAG = re.compile(r"O|[BI]-(?:PS|LC|OG|DT|TI|QT)")
_NOTHING = ("-", "_", "")  # placeholders for a missing label
_INLINE_MARK = re.compile(r"<([^<>]+):(?:PS|LC|OG|DT|TI|QT)>")


class _Sentence(NamedTuple):
    """A block of lines: the fields of its comment, (line number, fields) of each token, and
    whether an empty line follows it."""

    guid: str
    text: str
    units: list[tuple[int, list[str]]]
    is_closed: bool = True


def _sentences(
    path: Path, num_fields: int, fields_of: Callable[[str], list[str]]
) -> Iterator[_Sentence]:
    """Yields the sentences of a file that starts with `## ` comments about the format.

    The last comment before a sentence is `## guid<TAB>sentence`. The empty line after the last
    sentence may be missing. Lines are not stripped, as a space is a token of NER.
    """
    comment, units, has_begun = None, [], False
    for number, line in lines(path):
        if line.startswith("## "):
            if units:
                yield _sentence(path, comment, units)
            elif comment and has_begun:
                raise fault(f"{path}:{comment[0]}", "a sentence without lines", "delete it")
            comment, units = (number, line[3:]), []
        elif line in ("", "\t"):
            if units:
                yield _sentence(path, comment, units)
                comment, units = None, []
        else:
            has_begun = True
            units.append((number, _fields(fields_of(line), num_fields, comment, path, number)))
    if units:
        yield _sentence(path, comment, units)._replace(is_closed=False)
    elif not has_begun:
        raise fault(path, "the file has no sentences")
    elif comment:
        raise fault(f"{path}:{comment[0]}", "a sentence without lines: the file ends there")


def _fields(
    fields: list[str], num_fields: int, comment: object, path: Path, number: int
) -> list[str]:
    if comment is None:
        raise fault(f"{path}:{number}", "expected a line '## guid<TAB>sentence' before it")
    if len(fields) != num_fields:
        what = f"{len(fields)} tab-separated fields, expected {num_fields}"
        raise fault(f"{path}:{number}", what, "fix the tabs on that line")
    return fields


def _sentence(path: Path, comment: tuple[int, str] | None, units: list) -> _Sentence:
    assert comment is not None  # `_fields` refuses units without one
    number, text = comment
    guid, tab, text = text.partition("\t")
    if not tab:
        raise fault(f"{path}:{number}", "expected '## guid<TAB>sentence'", "fix that line")
    return _Sentence(guid, text, units)


def _source(guid: str) -> str:
    """The last part of a guid, which a hyphen precedes in NER's development file."""
    return re.split("[-_]", guid)[-1]


def ner_rows(path: Path, split: str) -> Iterator[Row]:
    """Yields KLUE-NER's rows; `text` is the concatenated characters.

    In the test split a tag may be `-`; `tags` is then None for the sentence. One training sentence
    differs from its comment (klue-ner-v1_train_01212_nsmc); such sentences are kept, and counted
    in the log.
    """
    num_different, first_different = 0, ""
    for sentence in _sentences(path, 2, lambda line: line.rsplit("\t", 1)):
        for number, (character, tag) in sentence.units:
            if len(character) != 1:
                what = f"{character!r} is {len(character)} characters, expected one"
                raise fault(f"{path}:{number}", what, "give every character its line")
            if not _TAG.fullmatch(tag) and not (split == "test" and tag in _NOTHING):
                what = f"{tag!r} is not a tag, expected O, or B- or I- with PS, LC, OG, DT, TI, QT"
                raise fault(f"{path}:{number}", what, "fix that line")
        row = _ner_row(*zip(*(fields for _, fields in sentence.units), strict=True))
        whole = _INLINE_MARK.sub(r"\1", sentence.text)
        if not sentence.is_closed:
            check_last_sentence(row["text"], whole, f"{path}:{sentence.units[-1][0]}")
        if row["text"] != whole:
            num_different, first_different = num_different + 1, first_different or sentence.guid
        yield {**row, "guid": sentence.guid, "source": _source(sentence.guid)}
    if num_different:
        message = "%s: the characters of %s differ from the comment (first: %s)"
        logger.info(message, path, counted(num_different, "sentence"), first_different)


def _ner_row(characters: tuple[str, ...], tags: tuple[str, ...]) -> Row:
    is_labelled = not set(tags) & set(_NOTHING)
    return {
        "guid": None,
        "source": None,
        "text": "".join(characters),
        "tags": list(tags) if is_labelled else None,
    }


def ner_hub_rows(row: Row) -> Iterator[Row]:
    """Yields the hub's row, which has no guid or source and marks the entities in `sentence`."""
    columns = (take(row, name, list, "klue/klue ner") for name in ("tokens", "ner_tags"))
    yield _ner_row(*map(tuple, columns))


def dp_rows(path: Path, split: str) -> Iterator[Row]:
    """Yields KLUE-DP's rows; in the test split, heads and relations may be `-`.

    Heads that are not a tree are kept, and reported in the log.
    """
    faults = TreeFaults(path)
    for sentence in _sentences(path, 6, lambda line: line.split("\t")):
        for index, (number, fields) in enumerate(sentence.units, 1):
            if fields[0] != str(index):
                what = f"word number {fields[0]!r}, expected {index}"
                raise fault(f"{path}:{number}", what, "fix that line")
            _check_head(fields[4], len(sentence.units), f"{path}:{number}", split != "test")
        _, words, lemmas, pos, heads, relations = zip(
            *(fields for _, fields in sentence.units), strict=True
        )
        if not sentence.is_closed:
            whole, last = "".join(sentence.text.split()), sentence.units[-1][0]
            check_last_sentence("".join(words), whole, f"{path}:{last}")
        is_labelled = all(head.isdecimal() for head in heads)
        if is_labelled:
            faults.check([int(head) for head in heads], [number for number, _ in sentence.units])
        yield {
            "guid": sentence.guid,
            "source": _source(sentence.guid),
            "sentence": sentence.text,
            "words": list(words),
            "lemmas": list(lemmas),
            "pos": list(pos),
            "heads": [int(head) for head in heads] if is_labelled else None,
            "relations": list(relations) if is_labelled else None,
        }
    faults.report()


def _check_head(head: str, num_words: int, where: str, is_labelled: bool) -> None:
    if head.isdecimal() and int(head) <= num_words or head in _NOTHING and not is_labelled:
        return
    raise fault(where, f"head {head!r}, expected 0 to {num_words}", "fix that line")


def dp_hub_rows(row: Row) -> Iterator[Row]:
    """Yields the hub's row, which has no guid or source."""
    where = "klue/klue dp"
    yield {
        "guid": None,
        "source": None,
        "sentence": take(row, "sentence", str, where),
        "words": take(row, "word_form", list, where),
        "lemmas": take(row, "lemma", list, where),
        "pos": take(row, "pos", list, where),
        "heads": take(row, "head", list, where),
        "relations": take(row, "deprel", list, where),
    }
