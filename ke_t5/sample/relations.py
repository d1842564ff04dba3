"""Sentences with a marked pair of entities and their relation (KLUE RE)."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from ke_t5.sample.grammar import load_grammar
from ke_t5.sample.sampler import Span, TextSampler

_NO_RELATION = 0.25
_NOISE = 0.04


class Relation(NamedTuple):
    """Entity type and word of the subject and of the object, as the data file has them."""

    subject_type: str
    subject: str
    object_type: str
    object: str


class Clause(NamedTuple):
    """A template, the values of its slots, and the entity types of those."""

    template: str
    values: dict[str, str]
    types: dict[str, str]


@cache
def relations() -> dict[str, tuple[str, Relation]]:
    """Label -> the heading of its sentences, and what it relates."""
    found = {}
    for heading in load_grammar("relations").families("relation"):
        label, *words = heading.split()
        found[label] = (f"relation {heading}", Relation(*words))
    return found


def labels() -> list[str]:
    """The labels in the order of the release."""
    return ["no_relation", *relations()]


def _clause(sampler: TextSampler, label: str, mark: str) -> Clause:
    """A sentence of a relation, its slots s and o renamed by `mark`."""
    heading, relation = relations()[label]
    subject = sampler.word(relation.subject)
    template = re.sub(r"\{([so])", rf"{{\g<1>{mark}", sampler.pick(sampler.entries(heading)))
    values = {f"s{mark}": subject, f"o{mark}": sampler.word(relation.object)}
    types = {f"s{mark}": relation.subject_type, f"o{mark}": relation.object_type}
    return Clause(template, values, types)


def _any_clause(sampler: TextSampler, mark: str, *, other_than: str = "no_relation") -> Clause:
    others = [label for label in relations() if label != other_than]
    return _clause(sampler, sampler.any_of(others), mark)


def _with_another(sampler: TextSampler, label: str, main: Clause) -> Clause:
    """The clause and one of another relation, in either order: now the marks matter."""
    extra = _any_clause(sampler, "2", other_than=label)
    both = [main.template, extra.template]
    first, second = both if sampler.chance(0.5) else both[::-1]
    template = sampler.any_of(sampler.entries("joints"))
    template = template.replace("{first}", first).replace("{second}", second)
    return Clause(template, main.values | extra.values, main.types | extra.types)


def _entity(text: str, span: Span, entity_type: str) -> dict:
    """An entity as the release writes it: end_idx is that of the last character."""
    _, start, end = span
    return {"word": text[start:end], "start_idx": start, "end_idx": end - 1, "type": entity_type}


def _row(sampler: TextSampler, label: str) -> dict:
    object_slot = "o1"
    if label != "no_relation":
        clause = _clause(sampler, label, "1")
        if sampler.chance(0.2):
            clause = _with_another(sampler, label, clause)
    elif sampler.chance(0.6):
        # A sentence that names two things and does not say how they are related.
        clause = _any_clause(sampler, "1")
        clause = clause._replace(template=sampler.pick(sampler.entries("unrelated")))
    else:
        # The subject of one sentence and the object of the other.
        clause = _with_another(sampler, label, _any_clause(sampler, "1"))
        object_slot = "o2"
    text, found = sampler.fill_spans(clause.template, clause.values)
    spans = {span[0]: span for span in found}
    return {
        "sentence": text,
        "subject_entity": _entity(text, spans["s1"], clause.types["s1"]),
        "object_entity": _entity(text, spans[object_slot], clause.types[object_slot]),
        "label": sampler.noisy(label, labels(), _NOISE),
        "source": sampler.any_of(sampler.entries("sources")),
    }


def klue_re(sampler: TextSampler, split: str, num_rows: int) -> list[dict]:
    """Rows of KLUE RE as its release writes them."""
    num_unrelated = int(num_rows * _NO_RELATION)
    related = sampler.balanced(list(relations()), num_rows - num_unrelated)
    drawn = sampler.shuffled(["no_relation"] * num_unrelated + related)
    rows = [_row(sampler, label) for label in drawn]
    return [{"guid": f"klue-re-v1_{split}_{i:05d}"} | row for i, row in enumerate(rows)]
