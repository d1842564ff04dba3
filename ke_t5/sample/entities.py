"""Tagged sentences: KLUE NER (six types) and NIKL NE (15 types in 2019, 150 in 2020)."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from ke_t5.sample.grammar import load_grammar, load_json, render
from ke_t5.sample.sampler import TextSampler


def _entity_type(slot: str) -> str:
    """The entity type of a slot: DT for DT2, QT for QT_명; empty for an ordinary word."""
    return re.sub("[^A-Z].*", "", slot)


def klue_ner(sampler: TextSampler, num_rows: int) -> list[dict]:
    """Sentences as {source, text, entities [(start, end, type)]}, NFKC-normalised like v1.1."""
    rows = []
    for _ in range(num_rows):
        source, templates = ("nsmc", "reviews") if sampler.chance(0.25) else ("wikitree", "news")
        template = unicodedata.normalize("NFKC", sampler.pick(sampler.entries(templates)))
        values = sampler.draw("row")
        for slot in re.findall(r"\{([A-Z]\w+)", template):
            unit = slot.partition("_")[2]
            word = f"{{2..98}}{unit}" if unit else f"{{{_entity_type(slot)}}}"
            values[slot] = sampler.fill(word, {})
        text, spans = sampler.fill_spans(template, values)
        entities = [
            (start, end, kind) for slot, start, end in spans if (kind := _entity_type(slot))
        ]
        rows.append({"source": source, "text": text, "entities": entities})
    return rows


def coarse_type(fine: str) -> str:
    """The two-letter type of a fine one.

    >>> coarse_type("OGG_MEDIA"), coarse_type("TMIG_GENRE")
    ('OG', 'TM')
    """
    return fine.split("_", 1)[0][:2]


@cache
def fine_types() -> dict[str, list[str]]:
    """Coarse type -> fine types."""
    types: dict[str, list[str]] = {}
    for fine in load_grammar("fine_entities").families("type"):
        types.setdefault(coarse_type(fine), []).append(fine)
    return types


def _fine_word(sampler: TextSampler, fine: str) -> str:
    if fine == "PS_NAME" and sampler.chance(0.8):
        return sampler.word("person")
    word = sampler.any_of(sampler.entries(f"type {fine}"))
    return re.sub("#", lambda _: str(sampler.between(1, 9)), word)


def _nikl_sentence(
    sampler: TextSampler, unused: list[str], *, fine_labels: bool
) -> tuple[str, list[dict]]:
    """A sentence and its entities; removes the fine types that it uses from `unused`."""
    types = fine_types()
    template = sampler.any_of(sampler.entries("sentences"))
    fine = {}
    for slot in re.findall(r"\{([A-Z]+)", template):
        due = [label for label in unused if label in types[slot]]
        fine[slot] = due[0] if due else sampler.any_of(types[slot])
        if due:
            unused.remove(due[0])
    values = {slot: _fine_word(sampler, label) for slot, label in fine.items()}
    form, spans = sampler.fill_spans(template, values)
    labels = fine if fine_labels else {slot: slot for slot in fine}
    return form, [
        dict(id=number, form=form[begin:end], label=labels[slot], begin=begin, end=end)
        for number, (slot, begin, end) in enumerate(spans, start=1)
    ]


def words_of(form: str) -> list[dict]:
    """The words of a sentence with their offsets, numbered from 1."""
    return [
        dict(id=number, form=word.group(), begin=word.start(), end=word.end())
        for number, word in enumerate(re.finditer(r"\S+", form), start=1)
    ]


def nikl_documents(
    sampler: TextSampler, stem: str, num_documents: int, *, key: str, fine_labels: bool
) -> list[dict]:
    """Documents of a NIKL NE file.

    Args:
        stem: file name, the prefix of the document ids.
        key: the key of a sentence's entities (`ne` in 2020 v1.0, otherwise `NE`).
        fine_labels: whether to use the 150 fine types instead of the 15.
    """
    unused = [label for fine in fine_types().values() for label in fine] * 2
    documents = []
    for number in range(1, num_documents + 1):
        document_id, sentences = f"{stem}.{number}", []
        for index in range(1, sampler.between(3, 6) + 1):
            form, entities = _nikl_sentence(sampler, unused, fine_labels=fine_labels)
            if index == 1 and number % 9 == 0:
                form, entities = sampler.word("plain"), []
            sentence = {"id": f"{document_id}.1.{index}", "form": form}
            sentences.append(sentence | {"word": words_of(form), key: entities})
        values = {"id": document_id, "number": number, "author": sampler.word("person")}
        values |= {"month": sampler.between(1, 12), "sentences": sentences}
        documents.append(render(load_json("rows")["NIKL NE document"], **values))
    return documents
