"""NIKL coreference 2020: the mentions of each sentence, the antecedents of each mention, and the
chains of each document.

A document of the corpus lists its sentences and, under `CR`, its chains; a mention consists of a
sentence id and character offsets. The reader follows a public one (AIRC-KETI/Korean-Copora,
cr.2020.v1.0), which drops the rest of a file at the first mention in an unknown sentence.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ke_t5.errors import counted
from ke_t5.readers.json_rows import json_rows
from ke_t5.readers.nikl import json_files, nikl_release
from ke_t5.readers.release import RawSplit, Release, Row, take, text_at
from ke_t5.readers.streams import fault

logger = logging.getLogger(__name__)

Paths = tuple[Path, ...]
Sentences = Mapping[str, str]

# Characters of context on either side of a question's mention, few enough that the question is
# not truncated.
_AROUND = 28


class Mention(NamedTuple):
    """Characters `start` to `end` (exclusive) of the document's sentence number `sentence`."""

    sentence: int
    start: int
    end: int


Chains = list[list[Mention]]
Document = tuple[str, Sentences, Chains]


# ----------------------------------------------------------------------------------- documents


def _documents(files: Paths) -> Iterator[Document]:
    """Yields (id, sentences as id -> text, chains) of each document; only the first of a repeated
    id."""
    keys: set[str] = set()
    num_repeated, left_out = 0, Counter()
    for path in files:
        for where, document in json_rows(path, "document"):
            key = take(document, "id", str, where)
            num_repeated += key in keys
            if key in keys:
                continue
            keys.add(key)
            where = f"{where}, document {key}"
            sentences = _sentences(document, where)
            yield key, sentences, _chains(document, sentences, where, left_out)
    if num_repeated:
        repeated = counted(num_repeated, "repeated document")
        logger.info("%s: left out %s", files[0].parent, repeated)
    for reason, count in sorted((+left_out).items()):
        mentions = counted(count, "mention")
        logger.warning("%s: left out %s %s", files[0].parent, mentions, reason)


def _sentences(document: Row, where: str) -> dict[str, str]:
    """id -> text, in the order of the document."""
    sentences: dict[str, str] = {}
    for sentence in take(document, "sentence", list, where):
        key = take(sentence, "id", str, where)
        if key in sentences:
            fix = "give each sentence an id of its own"
            raise fault(where, f"sentence {key} occurs twice", fix)
        sentences[key] = take(sentence, "form", str, f"{where}, sentence {key}")
    return sentences


def _chains(document: Row, sentences: Sentences, where: str, left_out: Counter[str]) -> Chains:
    """The chains, each in the order of the text; a mention belongs to the first that lists it.

    Args:
        left_out: the number of mentions left out by reason, which is updated.
    """
    places = {key: place for place, key in enumerate(sentences)}
    chains, known = [], set()
    for chain in take(document, "CR", list, where):
        mentions: set[Mention] = set()
        for mention in take(chain, "mention", list, where):
            key = take(mention, "sentence_id", str, where)
            if key not in sentences:
                left_out["in sentences that the document does not have"] += 1
                continue
            at = f"{where}, sentence {key}"
            start, end = take(mention, "begin", int, at), take(mention, "end", int, at)
            text_at(sentences[key], start, end, take(mention, "form", str, at), at)
            mentions.add(Mention(places[key], start, end))
        left_out["of an earlier chain"] += len(mentions & known)
        chains.append(sorted(mentions - known))
        known |= mentions
    return chains


# ---------------------------------------------------------------------------------------- rows


def _mention_rows(files: Paths) -> Iterator[Row]:
    """Yields the sentences with their mentions as entities; of overlapping mentions only the first
    and longest, since a character has a single tag."""
    num_inner = 0
    for document, sentences, chains in _documents(files):
        found: dict[int, list[Mention]] = {}
        for mention in sorted((m for chain in chains for m in chain), key=_outer_first):
            outer = found.setdefault(mention.sentence, [])
            if outer and mention.start < outer[-1].end:
                num_inner += 1
            else:
                outer.append(mention)
        for place, (key, text) in enumerate(sentences.items()):
            if text:
                entities = [
                    {"start": start, "end": end, "label": "MENTION"}
                    for _, start, end in found.get(place, ())
                ]
                yield {"id": key, "document": document, "text": text, "entities": entities}
    if num_inner:
        mentions = counted(num_inner, "mention")
        message = "%s: left out %s overlapping an earlier or longer one"
        logger.warning(message, files[0].parent, mentions)


def _outer_first(mention: Mention) -> tuple[int, int, int]:
    return mention.sentence, mention.start, -mention.end


def _document_rows(files: Paths) -> Iterator[Row]:
    """Yields each document: its sentences as the lines of a text, and its chains ordered by their
    first mentions."""
    for document, sentences, chains in _documents(files):
        texts = list(sentences.values())
        begins = list(accumulate((len(text) + 1 for text in texts), initial=0))
        yield {
            "id": document,
            "text": "\n".join(texts),
            "chains": _placed(chains, begins),
        }


def _placed(chains: Chains, begins: list[int]) -> list[list[dict[str, int]]]:
    """The chains with the offsets of their mentions in the document's text."""
    return [
        [
            {"start": begins[place] + start, "end": begins[place] + end}
            for place, start, end in chain
        ]
        for chain in sorted(filter(None, chains))
    ]


def _antecedent_rows(files: Paths) -> Iterator[Row]:
    """Yields each mention that has an antecedent, with the text before it as context and the
    earlier mentions of its chain as answers, nearest first."""
    for document, sentences, chains in _documents(files):
        keys, texts = list(sentences), list(sentences.values())
        whole = " ".join(filter(None, texts))
        lengths = [len(text) + bool(text) for text in texts]
        begins = list(accumulate(lengths, initial=0))
        for chain in chains:
            spans = [(begins[place] + start, begins[place] + end) for place, start, end in chain]
            for mention, (first, _) in zip(chain, spans, strict=True):
                earlier = [(start, end) for start, end in spans if end <= first]
                if earlier:
                    key = f"{keys[mention.sentence]}:{mention.start}-{mention.end}"
                    yield {
                        "id": key,
                        "document": document,
                        "question": marked(texts[mention.sentence], mention.start, mention.end),
                        "context": whole[:first],
                        "answers": [
                            {"text": whole[start:end], "start": start}
                            for start, end in reversed(earlier)
                        ],
                        "is_impossible": False,
                    }


def marked(sentence: str, start: int, end: int) -> str:
    """A mention in asterisks, with the words around it.

    >>> marked("민수가 왔다. 그는 웃었다.", 8, 9)
    '민수가 왔다. *그*는 웃었다.'
    """
    first, last = max(0, start - _AROUND), min(len(sentence), end + _AROUND)
    left, right = sentence[first:start], sentence[end:last]
    if first:  # drop a partial word
        left = left.partition(" ")[2]
    if last < len(sentence):
        right = right.rpartition(" ")[0]
    return f"{left}*{sentence[start:end]}*{right}"


# ------------------------------------------------------------------------------------ releases


def _find(data_dir: Path, *, rows: Callable[[Paths], Iterator[Row]]) -> dict[str, RawSplit]:
    files = json_files(data_dir, "CR_2020")
    return {"train": RawSplit(files, partial(rows, files))} if files else {}


def _coreference(
    name: str,
    columns: Mapping[str, object],
    rows: Callable[[Paths], Iterator[Row]],
    *,
    group: str | None = "document",
) -> Release:
    return nikl_release(
        name,
        {"id": "string", **({group: "string"} if group else {}), **columns},
        find=partial(_find, rows=rows),
        layout=("NIKL/v1.0/CR_2020/*.json",),
        group=group,
    )


MENTIONS = _coreference(
    "nikl_cr_mentions",
    {"text": "string", "entities": [{"start": "int32", "end": "int32", "label": "string"}]},
    _mention_rows,
)
ANTECEDENTS = _coreference(
    "nikl_cr_antecedents",
    {
        "question": "string",
        "context": "string",
        "answers": [{"text": "string", "start": "int32"}],
        "is_impossible": "bool",
    },
    _antecedent_rows,
)
DOCUMENTS = _coreference(
    "nikl_cr_documents",
    {"text": "string", "chains": [[{"start": "int32", "end": "int32"}]]},
    _document_rows,
    group=None,
)
