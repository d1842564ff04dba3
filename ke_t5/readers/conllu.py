"""Universal Dependencies for Korean: GSD, Kaist and KSL, as CoNLL-U.

Tested on the files of GSD and Kaist (v2), and on sentences of KSL's development file; the hub's
copies are untested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ke_t5.readers.kor_corpora import found_splits
from ke_t5.readers.release import Hub, Release, Row, take
from ke_t5.readers.streams import check_last_sentence, fault, lines
from ke_t5.readers.trees import TreeFaults

_NOTHING = ("_", "None")  # the hub writes None
# (line, its ten fields)
Word = tuple[int, list[str]]


def conllu_rows(path: Path, split: str) -> Iterator[Row]:
    """Yields a row for each sentence.

    Multiword tokens (1-2) and empty nodes (1.1) are skipped, and subtypes of relations (after the
    colon) are dropped, as in the CoNLL 2018 evaluation. `_` is a missing label. Heads that are not
    a tree are kept, and reported in the log.
    """
    guid, text, words, has_begun = "", "", [], False
    faults = TreeFaults(path)
    for number, line in lines(path):
        if line.startswith("#"):
            name, _, value = line[1:].partition("=")
            guid = value.strip() if name.strip() == "sent_id" else guid
            text = value if name.strip() == "text" else text
        elif line:
            fields = line.split("\t")
            if len(fields) != 10:
                what = f"{len(fields)} tab-separated fields, expected 10"
                raise fault(f"{path}:{number}", what, "fix the tabs on that line")
            if not set("-.") & set(fields[0]):
                words.append((number, fields))
                has_begun = True
        elif words:
            yield _row(path, guid, words, faults)
            guid, text, words = "", "", []
    if words:
        found = "".join(fields[1] for _, fields in words)
        check_last_sentence(found, "".join(text.split()), f"{path}:{words[-1][0]}")
        yield _row(path, guid, words, faults)
    elif not has_begun:
        raise fault(path, "the file has no sentences")
    faults.report()


def _row(path: Path, guid: str, words: Sequence[Word], faults: TreeFaults) -> Row:
    for index, (number, fields) in enumerate(words, 1):
        if fields[0] != str(index):
            what = f"word number {fields[0]!r}, expected {index}"
            raise fault(f"{path}:{number}", what, "fix that line")
        if not fields[1].strip():
            raise fault(f"{path}:{number}", "a word without a form", "fix that line")
        if not (fields[6] in _NOTHING or fields[6].isdecimal() and int(fields[6]) <= len(words)):
            what = f"head {fields[6]!r}, expected 0 to {len(words)}"
            raise fault(f"{path}:{number}", what, "fix that line")
    columns = list(zip(*(fields for _, fields in words), strict=True))
    row = _columns(guid, *(columns[at] for at in (1, 3, 6, 7)))
    if row["heads"] is not None:
        faults.check(row["heads"], [number for number, _ in words])
    return row


def _columns(
    guid: str | None, words: Sequence, tags: Sequence, heads: Sequence, relations: Sequence
) -> Row:
    """The row of a sentence; heads and relations, or tags, are None if any of them is missing."""
    has_tree = not {*heads, *relations} & {*_NOTHING}
    has_tags = not {*tags} & {*_NOTHING}
    return {
        "guid": guid,
        "text": " ".join(words),
        "words": list(words),
        "heads": [int(head) for head in heads] if has_tree else None,
        "relations": [name.partition(":")[0] for name in relations] if has_tree else None,
        "tags": word_tags(words, tags) if has_tags else None,
    }


def word_tags(words: Sequence[str], tags: Sequence[str]) -> list[str]:
    """A tag for each character of the space-separated words.

    >>> word_tags(["나는", "간다"], ["PRON", "VERB"])
    ['B-PRON', 'I-PRON', 'O', 'B-VERB', 'I-VERB']
    """
    result: list[str] = []
    for word, tag in zip(words, tags, strict=True):
        result += ["O"] * bool(result) + [f"B-{tag}", *[f"I-{tag}"] * (len(word) - 1)]
    return result


def _hub_rows(row: Row) -> Iterator[Row]:
    where = f"universal_dependencies, sentence {row.get('idx')}"
    names = ("tokens", "upos", "head", "deprel")
    columns = [take(row, name, list, where) for name in names]
    words = [one for one in zip(*columns, strict=True) if one[2] != "None"]  # no ranges
    tokens, tags, heads, relations = (list(column) for column in zip(*words, strict=True))
    yield _columns(row.get("idx"), tokens, tags, heads, relations)


def _release(name: str, treebank: str, *, is_on_hub: bool) -> Release:
    stem, folder = f"ko_{name}-ud", f"UD_Korean-{treebank}"
    parts = {"train": "train", "validation": "dev", "test": "test"}
    return Release(
        name=f"ud_ko_{name}",
        columns={
            "guid": "string",
            "text": "string",
            "words": ["string"],
            "heads": ["int32"],
            "relations": ["string"],
            "tags": ["string"],
        },
        find=partial(
            found_splits,
            folders=(folder, f"UD/{folder}", "UD"),
            names={split: f"{stem}-{part}.conllu" for split, part in parts.items()},
            rows=conllu_rows,
        ),
        layout=tuple(f"{folder}/{stem}-{part}.conllu" for part in parts.values()),
        home=f"https://github.com/UniversalDependencies/{folder}",
        licence="CC BY-SA 4.0",
        hub=Hub(
            path="universal-dependencies/universal_dependencies",
            config=f"ko_{name}",
            splits={"train": "train", "validation": "validation", "test": "test"},
            to_rows=_hub_rows,
        )
        if is_on_hub
        else None,
    )


GSD = _release("gsd", "GSD", is_on_hub=True)
KAIST = _release("kaist", "Kaist", is_on_hub=True)
KSL = _release("ksl", "KSL", is_on_hub=False)
