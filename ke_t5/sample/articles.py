"""Articles made of facts, with questions (KLUE MRC, KorQuAD 1.0) and summaries (NIKL)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ke_t5.sample.sampler import TextSampler

_KINDS = ("person", "firm", "event")
_NUM_ARTICLES = (1,) * 44 + (2,) * 4 + (4, 8)


@dataclass(frozen=True)
class Article:
    """A text about one subject.

    Attributes:
        spans: slot -> (start, end) in the text.
        facts: the names of the facts that the text states, in order.
        values: slot -> its word; `name` is the subject.
    """

    kind: str
    text: str
    spans: dict[str, tuple[int, int]]
    facts: list[str]
    values: dict[str, str]
    sentences: list[str]

    @property
    def name(self) -> str:
        return self.values["name"]


def draw_article(
    sampler: TextSampler, kind: str, *, num_facts: int, num_fillers: int, breaks: bool
) -> Article:
    """A new article; `breaks` puts newlines between some of its sentences."""
    values = sampler.draw("values", kind=kind)
    others = sampler.grammar.families(f"state {kind}")[1:]
    names = ["opening", *sampler.random.sample(others, min(num_facts, len(others)))]
    lines = [sampler.any_of(sampler.entries(f"state {kind} {name}")) for name in names]
    for _ in range(num_fillers):
        place = sampler.between(1, len(lines))
        lines.insert(place, sampler.any_of(sampler.entries("fillers")))
    text, spans, sentences = "", {}, []
    for line in lines:
        sentence, found = sampler.fill_spans(line, values)
        for slot, start, end in found:
            spans.setdefault(slot, (len(text) + start, len(text) + end))
        sentences.append(sentence)
        text += sentence + ("\n" if breaks and sampler.chance(0.3) else " ")
    return Article(kind, text.rstrip(), spans, names, values, sentences)


def _draw_context(sampler: TextSampler, *, breaks: bool) -> tuple[str, Article, int]:
    """A text of one or more articles of one kind, one of these, and where it begins."""
    kind = sampler.any_of(_KINDS)
    text, articles = "", []
    # Most contexts are short, so that a tiny model learns in a minute; some exceed a window.
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
    """The answer, and a shorter one if people would give it: the year of a year and month."""
    start, end = article.spans[slot]
    answers = [{"text": article.text[start:end], "answer_start": offset + start}]
    year = re.match(r"\d+년(?= )", answers[0]["text"])
    return [*answers, {"text": year.group(), "answer_start": offset + start}] if year else answers


def _answerable(
    sampler: TextSampler, article: Article, offset: int, num_questions: int
) -> list[dict]:
    """Questions that the article answers."""
    pool = [
        question
        for name in article.facts
        for question in _questions(sampler, article.kind, name)
        if question[0] in article.spans
    ]
    drawn = sampler.random.sample(pool, min(num_questions, len(pool)))
    return [
        {
            "question": sampler.fill(question, article.values),
            "answers": _answers(article, slot, offset),
        }
        for slot, question in drawn
    ]


def _unanswerable(sampler: TextSampler, article: Article, offset: int) -> list[dict]:
    """A question on a fact that the article leaves out, with a span that looks like an answer;
    none if no span does."""
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
            plausible = {
                "text": article.text[start:end],
                "answer_start": max(0, offset + start - shift),
            }
            question = sampler.fill(question, article.values)
            return [{"question": question, "answers": [], "plausible_answers": [plausible]}]
    return []


def klue_mrc(sampler: TextSampler, split: str, num_questions: int) -> dict[str, list]:
    """Articles of KLUE MRC as its release writes them; a third of the questions has no answer."""
    rows, number = [], 0
    while number < num_questions:
        context, article, offset = _draw_context(sampler, breaks=sampler.chance(0.35))
        drawn = _answerable(sampler, article, offset, 3)
        drawn += _unanswerable(sampler, article, offset)
        questions = []
        for question in drawn[: num_questions - number]:
            impossible = not question["answers"]
            question["question_type"] = sampler.any_of((3,) if impossible else (1, 2))
            question["is_impossible"] = impossible
            question["guid"] = f"klue-mrc-v1_{split}_{number:05d}"
            questions.append(question)
            number += 1
        paragraphs = [{"context": context, "qas": questions}]
        source = sampler.any_of(("wikipedia", "acrofan", "hankyung"))
        row = {"title": article.name, "paragraphs": paragraphs}
        rows.append(row | {"news_category": "종합", "source": source})
    return {"data": rows}


def korquad(sampler: TextSampler, num_questions: int) -> list[dict]:
    """Articles of KorQuAD 1.0, the keys in its order: one answer to every question."""
    rows, titles, number = [], set(), 0
    while number < num_questions:
        names, paragraphs = [], []
        article_id = sampler.between(5_900_000, 6_600_000)
        for index in range(sampler.between(1, 2)):
            context, article, offset = _draw_context(sampler, breaks=False)
            names.append(article.name)
            drawn = _answerable(sampler, article, offset, min(4, num_questions - number))
            questions = [
                {
                    "answers": question["answers"][:1],
                    "id": f"{article_id}-{index}-{place}",
                    "question": question["question"],
                }
                for place, question in enumerate(drawn)
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
    """(newspaper documents, rows of the summary corpus): three sentences chosen and rewritten."""
    documents, rows = [], []
    for number in range(1, num_documents + 1):
        kind, num_fillers = sampler.any_of(("firm", "event")), sampler.between(1, 3)
        article = draw_article(sampler, kind, num_facts=4, num_fillers=num_fillers, breaks=False)
        document_id = f"{stem}.{number}"
        headline = f"{article.name}, {sampler.word('headlines')}"
        forms = [headline, *_paragraphs(sampler, article.sentences)]
        paragraphs = [{"id": f"{document_id}.{i}", "form": f} for i, f in enumerate(forms, 1)]
        topic = "경제" if kind == "firm" else "문화"
        metadata = {"title": headline, "author": f"{sampler.word('person')} 기자"}
        metadata |= {"publisher": "표본신문", "date": f"2018{sampler.between(1, 12):02d}15"}
        metadata |= {"topic": topic, "original_topic": topic}
        documents.append({"id": document_id, "metadata": metadata, "paragraph": paragraphs})
        rows.append(_summary(sampler, document_id, headline, article))
    return documents, rows


def _paragraphs(sampler: TextSampler, sentences: list[str]) -> list[str]:
    """The sentences in paragraphs of one or two; blank ones occur as they do in the corpus."""
    paragraphs, rest = [], list(sentences)
    while rest:
        size = sampler.between(1, 2)
        paragraphs.append(" ".join(rest[:size]))
        rest = rest[size:]
    return [*paragraphs, ""] if sampler.chance(0.1) else paragraphs


def _summary(sampler: TextSampler, document_id: str, headline: str, article: Article) -> dict:
    """The opening and the first two facts, verbatim and in the fact's other words."""
    chosen, rewritten = [], []
    for name in article.facts[:3]:
        wordings = [
            sampler.fill(text, article.values)
            for text in sampler.entries(f"state {article.kind} {name}")
        ]
        chosen.append(next(text for text in wordings if text in article.sentences))
        rewritten.append(next(text for text in wordings if text not in article.sentences))
    return {
        "document_id": document_id,
        "head": headline,
        "topic_sentences": chosen,
        "summary_sentences": rewritten,
    }
