"""Sentences with a marked pair of entities and their relation (KLUE RE)."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from ke_t5.sample.grammar import load_grammar
from ke_t5.sample.sampler import TextSampler

_NO_RELATION = 0.25
_NOISE = 0.04


class Clause(NamedTuple):
    """A template, the values of its slots and their entity types."""

    template: str
    values: dict[str, str]
    types: dict[str, str]


@cache
def _relations() -> dict[str, list[str]]:
    """Label -> [type of subject, its slot, type of object, its slot]."""
    headings = [heading.split() for heading in load_grammar("relations").families("relation")]
    return {label: entities for label, *entities in headings}


def labels() -> list[str]:
    """The labels in the order of the release."""
    return ["no_relation", *_relations()]


def _clause(sampler: TextSampler, label: str, mark: str) -> Clause:
    """A clause that states a relation, with `mark` appended to its slots s and o."""
    subject_type, subject, object_type, target = _relations()[label]
    heading = " ".join(["relation", label, *_relations()[label]])
    word = sampler.word(subject)
    template = re.sub(r"\{([so])", rf"{{\g<1>{mark}", sampler.pick(sampler.entries(heading)))
    values = {f"s{mark}": word, f"o{mark}": sampler.word(target)}
    return Clause(template, values, {f"s{mark}": subject_type, f"o{mark}": object_type})


def _any_clause(sampler: TextSampler, mark: str, *, other_than: str = "") -> Clause:
    return _clause(sampler, sampler.another(list(_relations()), other_than), mark)


def _with_another(sampler: TextSampler, label: str, main: Clause) -> Clause:
    """The clause joined with one of another relation in random order, so that the marks matter."""
    extra = _any_clause(sampler, "2", other_than=label)
    both = [main.template, extra.template]
    first, second = both if sampler.chance(0.5) else both[::-1]
    template = sampler.any_of(sampler.entries("joints"))
    template = template.replace("{first}", first).replace("{second}", second)
    return Clause(template, main.values | extra.values, main.types | extra.types)


def _row(sampler: TextSampler, label: str) -> dict:
    object_slot = "o1"
    if label != "no_relation":
        clause = _clause(sampler, label, "1")
        if sampler.chance(0.2):
            clause = _with_another(sampler, label, clause)
    elif sampler.chance(0.6):
        # A sentence with two entities that does not state their relation.
        clause = _any_clause(sampler, "1")
        clause = clause._replace(template=sampler.pick(sampler.entries("unrelated")))
    else:
        # The subject of one sentence and the object of the other.
        clause = _with_another(sampler, label, _any_clause(sampler, "1"))
        object_slot = "o2"
    text, spans = sampler.fill_spans(clause.template, clause.values)
    entities = {
        # The release's end_idx is that of the last character.
        slot: dict(word=text[i:end], start_idx=i, end_idx=end - 1, type=clause.types[slot])
        for slot, i, end in spans
    }
    row = {"sentence": text, "subject": entities["s1"], "object": entities[object_slot]}
    row["label"] = sampler.noisy(label, labels(), _NOISE)
    return row | {"source": sampler.word("sources")}


def klue_re(sampler: TextSampler, num_rows: int) -> list[dict]:
    """The sentences of KLUE RE."""
    num_unrelated = int(num_rows * _NO_RELATION)
    related = sampler.balanced(list(_relations()), num_rows - num_unrelated)
    order = sampler.shuffled(["no_relation"] * num_unrelated + related)
    return [_row(sampler, label) for label in order]
