"""Articles composed of facts, with questions (KLUE MRC, KorQuAD 1.0) and summaries (NIKL)."""

from __future__ import annotations

import re
from typing import NamedTuple

from ke_t5.sample.grammar import load_json, render
from ke_t5.sample.sampler import TextSampler

_KINDS = ("person", "firm", "event")
_NUM_ARTICLES = (1,) * 44 + (2,) * 4 + (4, 8)


class Article(NamedTuple):
    """A text about one subject.

    Attributes:
        spans: slot -> (start, end) in the text.
        facts: the names of the facts stated in the text, in order.
        values: slot -> word; `name` is the subject.
    """

    kind: str
    text: str
    spans: dict[str, tuple[int, int]]
    facts: list[str]
    values: dict[str, str]
    sentences: list[str]


def draw_article(
    sampler: TextSampler, kind: str, *, num_facts: int, num_fillers: int, breaks: bool
) -> Article:
    """A new article, with newlines between some of its sentences if `breaks`."""
    values = sampler.draw("values", kind=kind)
    others = sampler.grammar.families(f"state {kind}")[1:]
    names = ["opening", *sampler.random.sample(others, min(num_facts, len(others)))]
    lines = [sampler.any_of(sampler.entries(f"state {kind} {name}")) for name in names]
    for _ in range(num_fillers):
        place = sampler.between(1, len(lines))
        lines.insert(place, sampler.any_of(sampler.entries("fillers")))
    text, spans, sentences = "", {}, []
    for line in lines:
        sentence, slots = sampler.fill_spans(line, values)
        for slot, start, end in slots:
            spans.setdefault(slot, (len(text) + start, len(text) + end))
        sentences.append(sentence)
        text += sentence + ("\n" if breaks and sampler.chance(0.3) else " ")
    return Article(kind, text.rstrip(), spans, names, values, sentences)


def _draw_context(sampler: TextSampler, *, breaks: bool) -> tuple[str, Article, int]:
    """A text of one or more articles of one kind, one of these articles, and its offset."""
    kind = sampler.any_of(_KINDS)
    text, articles = "", []
    # Most contexts are short, so that a tiny model trains in a minute; some exceed a window.
    for _ in range(sampler.any_of(_NUM_ARTICLES)):
        num_facts, num_fillers = sampler.between(2, 3), sampler.between(0, 1)
        article = draw_article(
            sampler, kind, num_facts=num_facts, num_fillers=num_fillers, breaks=breaks
        )
        text += " " if text else ""
        articles.append((article, len(text)))
        text += article.text
    return text, *sampler.any_of(articles)


def _questions(sampler: TextSampler, kind: str, fact: str) -> list[list[str]]:
    """(slot of the answer, question) for all questions about a fact."""
    return [entry.split(": ", 1) for entry in sampler.entries(f"ask {kind} {fact}")]


def _answers(article: Article, slot: str, offset: int) -> list[dict]:
    """The answer, and for a year and month also the year alone, which annotators accept."""
    start, end = article.spans[slot]
    answers = [{"text": article.text[start:end], "answer_start": offset + start}]
    year = re.match(r"\d+년(?= )", answers[0]["text"])
    return [*answers, {"text": year.group(), "answer_start": offset + start}] if year else answers


def _answerable(
    sampler: TextSampler, article: Article, offset: int, num_questions: int
) -> list[dict]:
    """Up to `num_questions` questions that the article answers."""
    pool = [
        question
        for name in article.facts
        for question in _questions(sampler, article.kind, name)
        if question[0] in article.spans
    ]
    selection = sampler.random.sample(pool, min(num_questions, len(pool)))
    return [
        dict(question=sampler.fill(text, article.values), answers=_answers(article, slot, offset))
        for slot, text in selection
    ]


def _unanswerable(sampler: TextSampler, article: Article, offset: int) -> list[dict]:
    """A question about a fact that the article does not state, with a span that looks like an
    answer; no question if there is no such span."""
    facts = sampler.grammar.families(f"state {article.kind}")
    groups = [entry.split() for entry in sampler.entries("alike")]
    for name in sampler.shuffled([fact for fact in facts if fact not in article.facts]):
        slot, question = sampler.any_of(_questions(sampler, article.kind, name))
        alike = next(group for group in groups if slot in group)
        near = [other for other in alike if other in article.spans]
        if near:
            start, end = article.spans[near[0]]
            # A quarter of the release's plausible answers are a few characters off.
            shift = sampler.between(1, 6) if sampler.chance(0.25) else 0
            plausible = dict(
                text=article.text[start:end], answer_start=max(0, offset + start - shift)
            )
            question = sampler.fill(question, article.values)
            return [{"question": question, "answers": [], "plausible_answers": [plausible]}]
    return []


def klue_mrc(sampler: TextSampler, split: str, num_questions: int) -> list[dict]:
    """Articles of KLUE MRC; a third of the questions have no answer."""
    rows, number = [], 0
    while number < num_questions:
        context, article, offset = _draw_context(sampler, breaks=sampler.chance(0.35))
        questions = _answerable(sampler, article, offset, 3)
        questions += _unanswerable(sampler, article, offset)
        questions = questions[: num_questions - number]
        for index, question in enumerate(questions, start=number):
            impossible = not question["answers"]
            question["question_type"] = sampler.any_of((3,) if impossible else (1, 2))
            question["is_impossible"] = impossible
            question["guid"] = f"klue-mrc-v1_{split}_{index:05d}"
        number += len(questions)
        source = sampler.any_of(("wikipedia", "acrofan", "hankyung"))
        values = {"title": article.values["name"], "context": context, "source": source}
        rows.append(values | {"questions": questions})
    return rows


def korquad(sampler: TextSampler, num_questions: int) -> list[dict]:
    """Articles of KorQuAD 1.0, with keys in its order, and one answer per question."""
    rows, titles, number = [], set(), 0
    while number < num_questions:
        names, paragraphs = [], []
        article_id = sampler.between(5_900_000, 6_600_000)
        for index in range(sampler.between(1, 2)):
            context, article, offset = _draw_context(sampler, breaks=False)
            names.append(article.values["name"])
            answerable = _answerable(sampler, article, offset, min(4, num_questions - number))
            ids = (f"{article_id}-{index}-{place}" for place in range(len(answerable)))
            questions = [
                {"answers": one["answers"][:1], "id": name, "question": one["question"]}
                for name, one in zip(ids, answerable, strict=True)
            ]
            number += len(questions)
            if questions:
                paragraphs.append({"qas": questions, "context": context})
        title = names[0].replace(" ", "_")
        title += f"_({len(rows)})" if title in titles else ""
        titles.add(title)
        rows.append({"paragraphs": paragraphs, "title": title})
    return rows


def summaries(sampler: TextSampler, stem: str, num_documents: int) -> tuple[list[dict], list[dict]]:
    """(newspaper documents, rows of the summary corpus): three chosen and rewritten sentences."""
    documents, rows = [], []
    for number in range(1, num_documents + 1):
        kind, num_fillers = sampler.any_of(("firm", "event")), sampler.between(1, 3)
        article = draw_article(sampler, kind, num_facts=4, num_fillers=num_fillers, breaks=False)
        document_id = f"{stem}.{number}"
        headline = f"{article.values['name']}, {sampler.word('headlines')}"
        forms = [headline, *_paragraphs(sampler, article.sentences)]
        paragraphs = [{"id": f"{document_id}.{i}", "form": f} for i, f in enumerate(forms, 1)]
        values = {"id": document_id, "headline": headline, "author": sampler.word("person")}
        values |= {"month": sampler.between(1, 12), "paragraphs": paragraphs}
        topic = "경제" if kind == "firm" else "문화"
        documents.append(render(load_json("rows")["NIKL newspaper"], topic=topic, **values))
        rows.append(_summary(sampler, document_id, headline, article))
    return documents, rows


def _paragraphs(sampler: TextSampler, sentences: list[str]) -> list[str]:
    """Paragraphs of one or two sentences; some are blank, as in the corpus."""
    paragraphs, rest = [], list(sentences)
    while rest:
        size = sampler.between(1, 2)
        paragraphs.append(" ".join(rest[:size]))
        rest = rest[size:]
    return [*paragraphs, ""] if sampler.chance(0.1) else paragraphs


def _summary(sampler: TextSampler, document_id: str, headline: str, article: Article) -> dict:
    """The opening and the first two facts, verbatim and in their other wording."""
    chosen, rewritten = [], []
    for name in article.facts[:3]:
        templates = sampler.entries(f"state {article.kind} {name}")
        wordings = [sampler.fill(template, article.values) for template in templates]
        chosen.append(next(text for text in wordings if text in article.sentences))
        rewritten.append(next(text for text in wordings if text not in article.sentences))
    row = {"document_id": document_id, "head": headline, "topic_sentences": chosen}
    return row | {"summary_sentences": rewritten}
