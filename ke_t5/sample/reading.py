"""Reading comprehension (KLUE MRC, KorQuAD 1.0) and summaries (NIKL) over the sample's articles."""

from __future__ import annotations

import re

from ke_t5.sample import words
from ke_t5.sample.korean import fill
from ke_t5.sample.passages import ALIKE, FACTS, Article, article
from ke_t5.sample.pen import Pen


def _answer(told: Article, slot: str, offset: int) -> list[dict]:
    """The answer, and a shorter one where people would give it: the year of a year and month."""
    start, end = told.spans[slot]
    found = [{"text": told.text[start:end], "answer_start": offset + start}]
    year = re.match(r"\d+년(?= )", found[0]["text"])
    return [*found, {"text": year.group(), "answer_start": offset + start}] if year else found


def _asked(pen: Pen, told: Article, offset: int, num_questions: int) -> list[dict]:
    """Questions that the article answers."""
    pool = [
        (slot, question)
        for name in told.told
        for slot, question in FACTS[told.kind][name].questions
        if slot in told.spans
    ]
    picked = pen.random.sample(pool, min(num_questions, len(pool)))
    return [
        {"question": fill(question, name=told.name), "answers": _answer(told, slot, offset)}
        for slot, question in picked
    ]


def _unanswerable(pen: Pen, told: Article, offset: int) -> dict | None:
    """A question on a fact that the article leaves out, with a span that looks like an answer."""
    for name in pen.shuffled([fact for fact in FACTS[told.kind] if fact not in told.told]):
        slot, question = pen.any_of(FACTS[told.kind][name].questions)
        alike = next(group for group in ALIKE if slot in group)
        near = [other for other in alike if other in told.spans]
        if near:
            start, end = told.spans[near[0]]
            # A quarter of the release's plausible answers lie a few characters off.
            shift = pen.between(1, 6) if pen.chance(0.25) else 0
            plausible = {"text": told.text[start:end], "answer_start": offset + start - shift}
            plausible["answer_start"] = max(0, plausible["answer_start"])
            asked = fill(question, name=told.name)
            return {"question": asked, "answers": [], "plausible_answers": [plausible]}
    return None


_NUM_ARTICLES = (1,) * 44 + (2,) * 4 + (4, 8)


def _context(pen: Pen, *, breaks: bool) -> tuple[str, list[tuple[Article, int]]]:
    """A text of one article or more on things of one kind, and where in it each begins."""
    kind = pen.any_of(("person", "firm", "event"))
    text, parts = "", []
    # Most contexts are short, so that a tiny model learns in a minute; some exceed a window.
    for _ in range(pen.any_of(_NUM_ARTICLES)):
        told = article(
            pen, kind, num_facts=pen.between(2, 3), num_fillers=pen.between(0, 1), breaks=breaks
        )
        text += " " if text else ""
        parts.append((told, len(text)))
        text += told.text
    return text, parts


def klue_mrc(pen: Pen, part: str, num_questions: int) -> list[dict]:
    """Articles of KLUE MRC as its release writes them; a third of the questions has no answer."""
    found, number = [], 0
    while number < num_questions:
        context, parts = _context(pen, breaks=pen.chance(0.35))
        told, offset = pen.any_of(parts)
        asked = _asked(pen, told, offset, 3)
        without = _unanswerable(pen, told, offset)
        questions = []
        for question in ([*asked, without] if without else asked)[: num_questions - number]:
            impossible = not question["answers"]
            kinds = (3,) if impossible else (1, 2)
            more = {"question_type": pen.any_of(kinds), "is_impossible": impossible}
            questions.append(question | more | {"guid": f"klue-mrc-v1_{part}_{number:05d}"})
            number += 1
        paragraphs = [{"context": context, "qas": questions}]
        source = pen.any_of(("wikipedia", "acrofan", "hankyung"))
        row = {"title": told.name, "paragraphs": paragraphs}
        found.append(row | {"news_category": "종합", "source": source})
    return found


def korquad(pen: Pen, num_questions: int) -> list[dict]:
    """Articles of KorQuAD 1.0, the keys in its order: one answer to every question."""
    found, titles, number = [], set(), 0
    while number < num_questions:
        first, paragraphs = None, []
        article_id = pen.between(5_900_000, 6_600_000)
        for index in range(pen.between(1, 2)):
            context, parts = _context(pen, breaks=False)
            told, offset = pen.any_of(parts)
            first = first or told
            questions = []
            for asked in _asked(pen, told, offset, min(4, num_questions - number)):
                answers = asked["answers"][:1]
                question_id = f"{article_id}-{index}-{len(questions)}"
                entry = {"answers": answers, "id": question_id, "question": asked["question"]}
                questions.append(entry)
                number += 1
            if questions:
                paragraphs.append({"qas": questions, "context": context})
        title = first.name.replace(" ", "_")
        title += f"_({len(found)})" if title in titles else ""
        titles.add(title)
        found.append({"paragraphs": paragraphs, "title": title})
    return found


def summaries(pen: Pen, stem: str, num_documents: int) -> tuple[list[dict], list[dict]]:
    """(newspaper documents, rows of the summary corpus): three sentences picked and rewritten."""
    documents, rows = [], []
    for number in range(1, num_documents + 1):
        kind = pen.any_of(("firm", "event"))
        told = article(pen, kind, num_facts=4, num_fillers=pen.between(1, 3), breaks=False)
        document_id, headline = f"{stem}.{number}", f"{told.name}, {pen.any_of(_HEADLINES)}"
        forms = [headline, *_paragraphs(pen, told.sentences)]
        paragraphs = [{"id": f"{document_id}.{i}", "form": f} for i, f in enumerate(forms, 1)]
        topic = "경제" if kind == "firm" else "문화"
        metadata = {"title": headline, "author": f"{words.person(pen)} 기자"}
        metadata |= {"publisher": "표본신문", "date": f"2018{pen.between(1, 12):02d}15"}
        metadata |= {"topic": topic, "original_topic": topic}
        documents.append({"id": document_id, "metadata": metadata, "paragraph": paragraphs})
        rows.append(_summary(document_id, headline, told))
    return documents, rows


_HEADLINES = ("새 소식 전해", "올해도 이어진다", "기대 모아", "새 계획 발표", "한눈에 보기")


def _paragraphs(pen: Pen, sentences: list[str]) -> list[str]:
    """The sentences in paragraphs of one or two; blank ones occur as they do in the corpus."""
    found, rest = [], list(sentences)
    while rest:
        size = pen.between(1, 2)
        found.append(" ".join(rest[:size]))
        rest = rest[size:]
    return [*found, ""] if pen.chance(0.1) else found


def _summary(document_id: str, headline: str, told: Article) -> dict:
    """The opening and the two facts told first, as they stand and in the fact's other words."""
    chosen = told.told[:3]
    picked, rewritten = [], []
    for name in chosen:
        wordings = [fill(text, **told.values) for text in FACTS[told.kind][name].sentences]
        picked.append(next(text for text in wordings if text in told.sentences))
        rewritten.append(next(text for text in wordings if text not in told.sentences))
    return {
        "document_id": document_id,
        "head": headline,
        "topic_sentences": picked,
        "summary_sentences": rewritten,
    }
