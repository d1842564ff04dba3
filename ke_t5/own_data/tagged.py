"""The user's own tagged text: a token and its tag on each line (CoNLL), or JSON rows.

    대한민국 B-LOC    {"문장": "대한민국의", "개체": [{"start": 0, "end": 4, "label": "LOC"}]}
    의 O              {"tokens": ["대한민국", "의"], "tags": ["S-LOC", "O"]}

Tokens are joined by spaces, unless all tokens of the training file are single characters. The
schemes IOB1, IOB2 (BIO), BIOES and BILOU are read; rows have IOB2, one tag per character.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ke_t5.errors import counted
from ke_t5.own_data.columns import require_column
from ke_t5.own_data.spec import OwnData
from ke_t5.readers.encodings import encoding_of
from ke_t5.readers.json_rows import kind_of
from ke_t5.readers.release import Row
from ke_t5.readers.streams import HALF_OF_PAIR, UNPAIRED, fault, lines, place_of
from ke_t5.readers.table_files import read_table, table_format
from ke_t5.task import spans

# Takes a message about a file, without its name.
Note = Callable[[str], None]
CONLL = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".txt", ".tsv")
_ROWS = (".json", ".jsonl", ".ndjson", ".parquet")
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_BEGINS, _ENDS = "BSU", "ESLU"
# Placeholders for a missing tag.
_NO_TAG = ("-", "_", "")
_EMPTY = "a token is empty"
# The number of sentences that decide whether tokens are characters.
_PEEKED = 200


class Sentence(NamedTuple):
    """First line, tokens, tags (None if unlabelled) and the lines of the tokens of a sentence."""

    line: int
    tokens: list[str]
    tags: list[str] | None
    lines: Sequence[int]


def is_conll(path: Path) -> bool:
    """Whether a file has a token on each line (CoNLL); False for rows, a UserError otherwise."""
    suffix = table_format(path, also=CONLL)
    if suffix not in (*CONLL, *_ROWS):
        what = f"tagging does not support {suffix} files"
        fix = "save a token and its tag on each line (.tsv, .conll), or JSON rows (.jsonl)"
        raise fault(path, what, fix)
    return suffix in CONLL


def conll_columns(path: Path, encoding: str | None) -> list[str]:
    """The column names of a CoNLL file, from its header; "1", "2", ... if there is none."""
    _, names, _ = _layout(path, encoding or encoding_of(path))
    return names


def tagged_rows(own: OwnData, path: Path, *, is_labelled: bool, note: Note) -> Iterator[Row]:
    """Yields `text`, `tags` (one per character, None if unlabelled) and `line`.

    Args:
        note: called with a message about the number of repaired entities.
    """
    joint = found_joint(own, path, is_labelled=is_labelled) if own.joint is None else own.joint
    num_repaired = 0
    for one in _sentences(own, path, is_labelled=is_labelled):
        if not isinstance(one, Sentence):
            yield one
            continue
        tags, repaired = iob2_tags(one, path)
        num_repaired += repaired
        yield {**_characters(one.tokens, tags, joint or ""), "line": one.line}
    if num_repaired:
        entities = counted(num_repaired, "entity begins", "entities begin")
        note(f"{entities} with I- or E-, read as B-")


def found_joint(own: OwnData, path: Path, *, is_labelled: bool = True) -> str | None:
    """The text between tokens: "" if all tokens of the first sentences are single characters, a
    space otherwise; None if the file has texts instead of tokens."""
    sentences = itertools.islice(_sentences(own, path, is_labelled=is_labelled), _PEEKED)
    tokens = [token for one in sentences if isinstance(one, Sentence) for token in one.tokens]
    if not tokens:
        return None
    return "" if all(len(token) == 1 for token in tokens) else " "


def _sentences(own: OwnData, path: Path, *, is_labelled: bool) -> Iterator[Sentence | Row]:
    """Yields the sentences of a file, or rows for untokenized texts; a UserError if it is empty."""
    read = _conll if is_conll(path) else _json
    is_empty = True
    for one in read(own, path, is_labelled=is_labelled):
        is_empty = False
        yield one
    if is_empty:
        raise fault(path, "the file has no sentences", "write a token and its tag on each line")


def iob2_tags(sentence: Sentence, path: Path) -> tuple[list[str] | None, int]:
    """The tags of tokens in IOB2, and the number of entities without a beginning.

    S-PER O B-LOC E-LOC  ->  B-PER O B-LOC I-LOC
    """
    if sentence.tags is None:
        return None, 0
    tags, num_repaired, open_type = [], 0, None
    for tag, line in zip(sentence.tags, sentence.lines, strict=True):
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            what = f"{tag!r:.40} is not a tag, expected O, B-XX or I-XX"
            fix = "fix it, or name another column with --label_column"
            raise fault(place_of(path, line), what, fix)
        if tag == "O":
            open_type = None
            tags.append(tag)
            continue
        prefix, kind = tag[0], tag[2:]
        begins = prefix in _BEGINS or kind != open_type
        num_repaired += begins and prefix not in _BEGINS
        tags.append(f"{'B' if begins else 'I'}-{kind}")
        open_type = None if prefix in _ENDS else kind
    return tags, num_repaired


def _characters(tokens: Sequence[str], tags: Sequence[str] | None, joint: str) -> Row:
    """The row of tokens and tags: the joined text with a tag per character."""
    text = joint.join(tokens)
    if tags is None:
        return {"text": text, "tags": None}
    of_characters: list[str] = []
    for token, tag in zip(tokens, tags, strict=True):
        inside = f"I-{tag[2:]}" if tag != "O" else "O"
        if of_characters:
            of_characters += [inside if tag[0] == "I" else "O"] * len(joint)
        of_characters += [tag, *[inside] * (len(token) - 1)] if token else []
    return {"text": text, "tags": of_characters}


# ----------------------------------------------------------------------------------------- CoNLL


def _layout(path: Path, encoding: str) -> tuple[str | None, list[str], bool]:
    """The separator of the columns (None: spaces), their names, and whether there is a header."""
    for number, line in lines(path, encoding):
        separator = "\t" if "\t" in line else None
        fields = _fields(line, separator)
        if not fields or _is_comment(line, fields):
            continue
        has_header = not _TAG.fullmatch(fields[-1]) and len(fields) > 1 and number == 1
        names = fields if has_header else [str(i) for i in range(1, len(fields) + 1)]
        return separator, names, has_header
    raise fault(path, "the file has no sentences", "write a token and its tag on each line")


def _fields(line: str, separator: str | None) -> list[str]:
    """The fields of a line, [] if it is blank; before a tab, a space may be a token."""
    if not line.strip():
        return []
    return line.split(separator) if separator else line.split()


def _is_comment(line: str, fields: Sequence[str]) -> bool:
    is_comment = line.startswith("#") and not (len(fields) > 1 and _TAG.fullmatch(fields[-1]))
    return is_comment or fields[0] == "-DOCSTART-"


def _conll(own: OwnData, path: Path, *, is_labelled: bool) -> Iterator[Sentence]:
    encoding = own.encoding or encoding_of(path)
    separator, names, has_header = _layout(path, encoding)
    text = _place(own, "text", path, names)
    label = _place(own, "label", path, names) if is_labelled else _place_if_any(own, names)
    units: list[tuple[int, str, str | None]] = []
    for number, line in lines(path, encoding):
        fields = _fields(line, separator)
        if not fields:
            if units:
                yield _sentence(units, path, is_labelled=is_labelled)
            units = []
        elif not (_is_comment(line, fields) or (number == 1 and has_header)):
            if len(fields) != len(names):
                what = f"expected {len(names)} columns as in the first line, found {len(fields)}"
                fix = "write a token and its tag on each line, and an empty line after a sentence"
                raise fault(f"{path}:{number}", what, fix)
            if not fields[text]:
                raise fault(f"{path}:{number}", _EMPTY, "write the token, or delete the line")
            units.append((number, fields[text], None if label is None else fields[label]))
    if units:
        yield _sentence(units, path, is_labelled=is_labelled)


def _place(own: OwnData, role: str, path: Path, names: Sequence[str]) -> int:
    require_column(path, names, own.columns[role], role)
    return names.index(own.columns[role])


def _place_if_any(own: OwnData, names: Sequence[str]) -> int | None:
    """The index of the optional tag column."""
    name = own.columns["label"]
    return names.index(name) if name in names and name != own.columns["text"] else None


def _sentence(
    units: Sequence[tuple[int, str, str | None]], path: Path, *, is_labelled: bool
) -> Sentence:
    """The sentence of (line, token, tag) units; unlabelled if no token has a tag.

    Raises:
        UserError: some tokens have no tag, or all of them in a labelled file.
    """
    numbers, tokens, tags = zip(*units, strict=True)
    bare = [number for number, _, tag in units if tag is None or tag in _NO_TAG]
    if bare and (is_labelled or len(bare) < len(units)):
        what, fix = "the token has no tag", "write O for tokens outside entities"
        raise fault(f"{path}:{bare[0]}", what, fix)
    return Sentence(numbers[0], list(tokens), None if bare else list(tags), numbers)


# ------------------------------------------------------------------------------------------ rows


def _json(own: OwnData, path: Path, *, is_labelled: bool) -> Iterator[Sentence | Row]:
    for line, row in read_table(path, encoding=own.encoding):
        where = place_of(path, line)
        text, label = row.get(own.columns["text"]), row.get(own.columns["label"])
        if not text or not isinstance(text, str | list):
            found = "empty" if text in ("", []) else f"{kind_of(text)}, expected a text or tokens"
            what = f"{own.columns['text']!r:.40} is {found}"
            raise fault(where, what, "fix that row, or name another column with --text_column")
        if label is None and is_labelled or not isinstance(label, list | None):
            what = f"{own.columns['label']!r:.40} is {kind_of(label)}, expected tags or entities"
            raise fault(where, what, "fix that row, or name another column with --label_column")
        if isinstance(text, str):
            _check_token(text, where)
            yield {"text": text, "tags": _tags_of_text(text, label, where), "line": line}
            continue
        for token in text:
            _check_token(token, where)
        if label is not None and len(label) != len(text):
            what = f"the numbers of tokens and tags differ ({len(text)} and {len(label)})"
            raise fault(where, what, "give each token a tag")
        yield Sentence(line, text, label, [line] * len(text))


def _check_token(token: Any, where: str) -> None:
    """Raises UserError for an invalid token or text."""
    if not isinstance(token, str):
        raise fault(where, "a token is not a text", "quote the tokens")
    if not token:
        raise fault(where, _EMPTY, "remove it and its tag")
    if HALF_OF_PAIR.search(token):
        raise fault(where, f"the text {UNPAIRED}", "fix that row")


def _entity(value: Any) -> dict[str, Any]:
    """A record of start, end and label.

    Raises:
        KeyError, TypeError: it is not such a record.
    """
    label = value["label"]
    if not isinstance(label, str | int) or not str(label).strip():
        raise TypeError("label")
    return {"start": value["start"], "end": value["end"], "label": str(label).strip()}


def _tags_of_text(text: str, label: list | None, where: str) -> list[str] | None:
    """The tags of the characters of a text, from its entities."""
    if label is None:
        return None
    try:
        return spans.tags_from_entities(len(text), map(_entity, label))
    except (KeyError, TypeError):
        what, fix = "an entity is not a record of start, end and label", "write it as such"
    except ValueError as error:
        what, fix = f"{error!s:.90}", "fix it: offsets count characters, the end excluded"
    raise fault(where, what, fix)
