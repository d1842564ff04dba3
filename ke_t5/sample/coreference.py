"""Documents with coreference chains (NIKL CR 2020)."""

from __future__ import annotations

from ke_t5.sample.entities import words_of
from ke_t5.sample.grammar import load_json, render
from ke_t5.sample.sampler import TextSampler

# One in `_LONG_EVERY` documents has `_LONG` sentences, more than fit into the sample's models.
_LONG_EVERY, _LONG = 25, 45


def nikl_documents(sampler: TextSampler, stem: str, num_documents: int) -> list[dict]:
    """Documents of a NIKL CR file.

    Args:
        stem: file name, the prefix of the document ids.
    """
    documents = []
    for number in range(1, num_documents + 1):
        document_id = f"{stem}.{number}"
        length = _LONG if number % _LONG_EVERY == 0 else sampler.between(4, 8)
        sentences, chains = _sentences(sampler, document_id, length)
        values = {"id": document_id, "number": number, "author": sampler.word("person")}
        values |= {"month": sampler.between(1, 12), "sentences": sentences}
        document = render(load_json("rows")["NIKL NE document"], **values)
        documents.append(document | {"CR": [{"mention": chain} for chain in chains]})
    return documents


def _sentences(
    sampler: TextSampler, document_id: str, length: int
) -> tuple[list[dict], list[list[dict]]]:
    """The sentences of a document, and its chains with two or more mentions."""
    names = {slot: sampler.word(slot) for slot in ("person", "firm")}
    names |= {"city": sampler.word("cities"), "other": sampler.word("person")}
    again = {"surname": names["person"][0], "full_name": names["other"]}
    chains: dict[str, list[dict]] = {slot: [] for slot in names}
    sentences = []
    for index in range(1, length + 1):
        template = sampler.any_of(sampler.entries("openings" if index == 1 else "sentences"))
        values = {
            slot: sampler.word(f"again {slot}", again)
            if chains[slot] and sampler.chance(0.8)
            else name
            for slot, name in names.items()
        }
        form, spans = sampler.fill_spans(template, values)
        key = f"{document_id}.1.{index}"
        sentences.append({"id": key, "form": form, "word": words_of(form)})
        for slot, begin, end in spans:
            if slot in chains:
                place = {"sentence_id": key, "form": form[begin:end], "begin": begin, "end": end}
                chains[slot].append({**place, "NE_id": len(chains[slot]) + 1})
    return sentences, [chain for chain in chains.values() if len(chain) > 1]
