"""NIKL (모두의 말뭉치): named entities 2019 and 2020, summaries, acceptability.

The files are laid out as in AIRC-KETI/Korean-Copora, below `NIKL/v1.0`. The corpora may not be
redistributed and are not on any public hub; these readers follow public ones.

The corpora have a single split, train. The `_split` releases divide it by the hash of Korean-
Copora's `.split` configurations, so that scores are comparable: by sentence for entities (a
document's sentences are spread over all splits), by document and kind for summaries.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from hashlib import md5
from pathlib import Path
from typing import Any

from ke_t5.errors import UserError, counted, counted_of
from ke_t5.readers.json_rows import json_rows
from ke_t5.readers.release import (
    SPLITS,
    RawSplit,
    Release,
    Row,
    check_texts,
    files_below,
    first_found,
    folders_under,
    hash_split,
    raw_splits,
    take,
    text_at,
)
from ke_t5.readers.streams import fault, table

logger = logging.getLogger(__name__)

Paths = tuple[Path, ...]
Stamps = tuple[int, ...]

_HOME = "https://kli.korean.go.kr/corpus (NIKL, after an agreement)"
_LICENCE = "NIKL agreement, not to be passed on"


def json_files(data_dir: Path, corpus: str) -> Paths:
    """The corpus's files (.json or .JSON) in order, including subfolders, from the first folder
    that has any."""
    names = (f"NIKL/v1.0/{corpus}", f"v1.0/{corpus}", corpus)
    for name in folders_under(data_dir, names, is_direct=False):
        files = files_below(data_dir / name)
        json_files = tuple(path for path in files if path.suffix.lower() == ".json")
        if json_files:
            return json_files
    return ()


def nikl_release(name: str, columns: Mapping[str, object], **parts: Any) -> Release:
    """A release of NIKL, with the home page and licence that all of them share."""
    return Release(name=name, columns=columns, home=_HOME, licence=_LICENCE, **parts)


# Named entities.


def _sentences(files: Paths, split: str | None) -> Iterator[Row]:
    """Yields the sentences of one hash split, or all; only the first of a repeated id."""
    keys, num_empty, num_repeated = set(), 0, 0
    for path in files:
        for where, document in json_rows(path, "document"):
            document_id = take(document, "id", str, where)
            for sentence in take(document, "sentence", list, where):
                key = take(sentence, "id", str, where)
                text = take(sentence, "form", str, f"{where}, sentence {key}")
                if not text or key in keys:
                    num_empty, num_repeated = num_empty + (not text), num_repeated + bool(text)
                    continue
                keys.add(key)
                if split not in (None, hash_split(key)):
                    continue
                entities = _entities(sentence, text, f"{where}, sentence {key}")
                yield {"id": key, "document": document_id, "text": text, "entities": entities}
    if num_empty or num_repeated:
        empty, repeated = counted(num_empty, "empty sentence"), counted(num_repeated, "repeated id")
        logger.info("%s: left out %s and %s", files[0].parent, empty, repeated)


def _entities(sentence: Row, text: str, where: str) -> list[Row]:
    """The entities under `NE`, or `ne` in NE 2020 v1.0; the corpus's `end` is exclusive."""
    entities = []
    for entity in take(sentence, "ne" if "ne" in sentence else "NE", list, where):
        start, end = take(entity, "begin", int, where), take(entity, "end", int, where)
        text_at(text, start, end, take(entity, "form", str, where), where)
        label = take(entity, "label", str, where)
        entities.append({"start": start, "end": end, "label": label})
    return entities


def _find_entities(data_dir: Path, *, corpus: str, is_split: bool) -> dict[str, RawSplit]:
    files = json_files(data_dir, corpus)
    splits = {split: split for split in SPLITS} if is_split else {"train": None}
    return {
        name: RawSplit(files, partial(_sentences, files, split))
        for name, split in splits.items()
        if files
    }


def _entity_release(name: str, corpus: str, *, is_split: bool) -> Release:
    return nikl_release(
        name,
        {
            **dict.fromkeys(("id", "document", "text"), "string"),
            "entities": [{"start": "int32", "end": "int32", "label": "string"}],
        },
        find=partial(_find_entities, corpus=corpus, is_split=is_split),
        layout=(f"NIKL/v1.0/{corpus}/*.json",),
        group="document",
    )


NE = _entity_release("nikl_ne", "NE", is_split=False)
NE_SPLIT = _entity_release("nikl_ne_split", "NE", is_split=True)
NE2020 = _entity_release("nikl_ne2020", "NE_2020", is_split=False)
NE2020_SPLIT = _entity_release("nikl_ne2020_split", "NE_2020", is_split=True)


# Summaries: NIKL_SC.json has the ids and the summaries; the newspaper corpus has the articles, in
# files named after the id's part before the first dot.


def _stem(document_id: str) -> str:
    return document_id.partition(".")[0]


def _article(document: Row, where: str) -> str:
    """The paragraphs in one line; those without final punctuation get a full stop.

    >>> _article({"paragraph": [{"form": "제목 "}, {"form": ""}, {"form": "끝났다."}]}, "")
    '제목. 끝났다.'
    """
    forms = []
    for paragraph in take(document, "paragraph", list, where):
        form = take(paragraph, "form", str, where).strip()
        if form:
            is_closed = unicodedata.category(form[-1]).startswith("P")
            forms.append(form if is_closed else form + ".")
    return " ".join(forms)


@lru_cache(maxsize=1)
def _document_ids(sources: Paths, stamps: Stamps) -> frozenset[str]:
    """The ids of all summarized documents. For `stamps` see `_articles`."""
    rows = (located for path in sources for located in json_rows(path, "data"))
    return frozenset(take(row, "document_id", str, where) for where, row in rows)


@lru_cache(maxsize=1)
def _articles(sources: Paths, newspapers: Paths, stamps: Stamps) -> Mapping[str, str]:
    """document_id -> article for all summarized documents, in one pass over their newspapers.

    The splits of a corpus and its two kinds of summaries are read one after the other, so the last
    result is cached until the files' `stamps` (modification times) change.

    Raises:
        UserError: the newspaper corpus is missing or has none of the articles.
    """
    ids = _document_ids(sources, _stamps(sources))
    articles = {}
    for path in newspapers:
        for where, document in json_rows(path, "document"):
            key = take(document, "id", str, where)
            if key in ids and key not in articles:
                articles[key] = _article(document, where)
    if not articles:
        fix = "put the corpus NEWSPAPER, which has the articles, into NIKL/v1.0/NEWSPAPER"
        raise fault(sources[0], "none of its documents is in the newspaper files", fix)
    missing = sorted(ids - articles.keys())
    if missing:
        documents = counted_of(len(missing), len(ids), "document", ("has", "have"))
        message = "%s: %s no article in NEWSPAPER, left out (first: %s)"
        logger.warning(message, sources[0].parent, documents, missing[0])
    return articles


def _stamps(files: Paths) -> Stamps:
    return tuple(path.stat().st_mtime_ns for path in files)


def _summaries(sources: Paths, newspapers: Paths, kind: str, split: str | None) -> Iterator[Row]:
    """Yields id, article and summary: the concatenated sentences under `kind`, None without any.

    Documents without an article are left out, and repeated ones yielded once. The key of a hash
    split is itself a hash of id and kind, as in Korean-Copora.
    """
    articles = _articles(sources, newspapers, _stamps(sources + newspapers))
    ids, num_repeated = set(), 0
    for path in sources:
        for where, row in json_rows(path, "data"):
            document_id = take(row, "document_id", str, where)
            key = md5((document_id + kind).encode(), usedforsecurity=False).hexdigest()
            num_repeated += document_id in ids
            is_wanted = document_id in articles and document_id not in ids
            ids.add(document_id)
            if not is_wanted or split not in (None, hash_split(key)):
                continue
            sentences = take(row, kind, list, where)
            check_texts(sentences, kind, where)
            summary = " ".join(sentence.strip() for sentence in sentences) or None
            article = articles[document_id]
            yield {"document_id": document_id, "article": article, "summary": summary}
    if num_repeated:
        repeated = counted(num_repeated, "repeated document")
        logger.info("%s: left out %s", sources[0].parent, repeated)


def _find_summaries(data_dir: Path, *, kind: str, is_split: bool) -> dict[str, RawSplit]:
    """The splits of the summaries, which depend only on newspaper files that have an article."""
    sources = json_files(data_dir, "SUMMARIZATION")
    try:
        stems = {_stem(key) for key in _document_ids(sources, _stamps(sources))}
    except UserError:
        stems = set()  # raised again when the rows are read
    newspapers = json_files(data_dir, "NEWSPAPER") if sources else ()
    unused = tuple(path for path in newspapers if path.stem not in stems)
    newspapers = tuple(path for path in newspapers if path.stem in stems)
    splits = {split: split for split in SPLITS} if is_split else {"train": None}
    return {
        name: RawSplit(
            sources + newspapers, partial(_summaries, sources, newspapers, kind, split), unused
        )
        for name, split in splits.items()
        if sources
    }


def _summary_release(name: str, kind: str, *, is_split: bool) -> Release:
    return nikl_release(
        name,
        dict.fromkeys(("document_id", "article", "summary"), "string"),
        find=partial(_find_summaries, kind=kind, is_split=is_split),
        layout=("NIKL/v1.0/SUMMARIZATION/NIKL_SC.json", "NIKL/v1.0/NEWSPAPER/*.json"),
        group="document_id",
    )


_WRITTEN, _PICKED = "summary_sentences", "topic_sentences"
SUMMARY_SUMMARY = _summary_release("nikl_summary_summary", _WRITTEN, is_split=False)
SUMMARY_SUMMARY_SPLIT = _summary_release("nikl_summary_summary_split", _WRITTEN, is_split=True)
SUMMARY_TOPIC = _summary_release("nikl_summary_topic", _PICKED, is_split=False)
SUMMARY_TOPIC_SPLIT = _summary_release("nikl_summary_topic_split", _PICKED, is_split=True)


# Acceptability. The test split is the out-of-domain development set.


def _acceptability_rows(path: Path, split: str) -> Iterator[Row]:
    """Yields the rows; `idx` is a row's number in its file, from 0."""
    columns = ("source", "acceptability_label", "source_annotation", "sentence")
    for index, (line, raw) in enumerate(table(path, columns)):
        label = raw["acceptability_label"]
        is_known = label in ("0", "1")
        if not is_known and not (split == "test" and label in ("", "-1")):
            what = f"acceptability_label {label!r}, expected 0 or 1"
            raise fault(f"{path}:{line}", what, "fix that line")
        yield {"idx": index, "sentence": raw["sentence"], "label": label if is_known else None}


def _find_acceptability(data_dir: Path) -> dict[str, RawSplit]:
    names = {
        "train": "NIKL_CoLA_in_domain_train.tsv",
        "validation": "NIKL_CoLA_in_domain_dev.tsv",
        "test": "NIKL_CoLA_out_of_domain_dev.tsv",
    }
    folders = ("NIKL/v1.0/CoLA", "v1.0/CoLA", "CoLA", ".")
    return raw_splits(first_found(data_dir, folders, names), _acceptability_rows)


COLA = nikl_release(
    "nikl_cola",
    {"idx": "int32", "sentence": "string", "label": "string"},
    find=_find_acceptability,
    layout=(
        "NIKL/v1.0/CoLA/NIKL_CoLA_in_domain_train.tsv",
        "NIKL/v1.0/CoLA/NIKL_CoLA_in_domain_dev.tsv",
        "NIKL/v1.0/CoLA/NIKL_CoLA_out_of_domain_dev.tsv",
    ),
)
