"""The entities of the NAVER NLP Challenge 2018: a sentence and a tag for each of its words.

The files are KoELECTRA's (81,000 and 9,000 of the 90,000 sentences), on which the reader was
tested. A word is tagged together with its particle ("LG에" is ORG-B), so scores are of whole words.
Some I tags continue no entity; they are kept, and strict IOB2 does not count them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ke_t5.readers.kor_corpora import found_splits
from ke_t5.readers.release import Release, Row
from ke_t5.readers.streams import OWN_FILE, fault, tab_lines


def character_tags(words: Sequence[str], tags: Sequence[str]) -> list[str]:
    """A tag for each character of the space-separated words, from tags such as "PER-B".

    >>> character_tags(["두", "번", "봤다"], ["NUM-B", "NUM-I", "O"])
    ['B-NUM', 'I-NUM', 'I-NUM', 'O', 'O', 'O']
    """
    result: list[str] = []
    for word, tag in zip(words, tags, strict=True):
        kind, _, place = tag.partition("-")
        inside = f"I-{kind}" if place else "O"
        if result:
            continues = place == "I" and result[-1][2:] == kind
            result.append(inside if continues else "O")
        result += [f"B-{kind}" if place == "B" else inside, *[inside] * (len(word) - 1)]
    return result


TYPES = "PER FLD AFW ORG LOC CVL DAT TIM NUM EVT ANM PLT MAT TRM".split()
_TAG = re.compile(rf"O|(?:{'|'.join(TYPES)})-[BI]")
_LINES = {"train": 81_000, "test": 9_000}


def _rows(path: Path, split: str) -> Iterator[Row]:
    for line, (sentence, tags) in tab_lines(path, 2, released=_LINES[split]):
        words, names = sentence.split(" "), tags.split(" ")
        if len(words) != len(names) or not all(words):
            what = f"{len(words)} words and {len(names)} tags"
            raise fault(f"{path}:{line}", what, "give each word its tag, one space between them")
        wrong = next((name for name in names if not _TAG.fullmatch(name)), None)
        if wrong is not None:
            what = f"{wrong!r:.40} is not a tag, expected O, or -B or -I after {' '.join(TYPES)}"
            raise fault(f"{path}:{line}", what, f"fix that line, or {OWN_FILE}")
        yield {"text": sentence, "tags": character_tags(words, names)}


NAVER_NER = Release(
    name="naver_ner",
    columns={"text": "string", "tags": ["string"]},
    find=partial(
        found_splits,
        folders=("naver-ner", "naver_ner"),
        names={"train": "train.tsv", "test": "test.tsv"},
        rows=_rows,
        is_direct=False,
    ),
    layout=("naver-ner/train.tsv", "naver-ner/test.tsv"),
    home="https://github.com/monologg/KoELECTRA",
    licence="NAVER NLP Challenge",
)
