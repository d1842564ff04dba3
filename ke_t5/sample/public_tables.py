"""Tables of APEACH, KOLD, K-HATERS, KorFin-ASC, PAWS-X, MASSIVE and the NAVER NLP Challenge."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence

from ke_t5.sample import articles
from ke_t5.sample.entities import klue_ner
from ke_t5.sample.sampler import TextSampler
from ke_t5.sample.sentences import similarities

# KLUE's types -> those of the NAVER NLP Challenge.
_NAVER_TYPES = {"PS": "PER", "LC": "LOC", "OG": "ORG", "DT": "DAT", "TI": "TIM", "QT": "NUM"}
# Words that make a hateful comment one of level 2.
_WORST = re.compile("꺼져라|사라져라|쓰레기")
_OPPOSITE = {"POSITIVE": "NEGATIVE", "NEGATIVE": "POSITIVE", "NEUTRAL": "NEUTRAL"}
_PARTITIONS = ("train", "dev", "test")


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return file.getvalue()


def _json_lines(rows: Sequence[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def apeach(sampler: TextSampler, split: str, num_rows: int) -> str:
    """Comments as CSV; texts with a comma are quoted, as in the release."""
    rows = [
        (f"{row['text']}, {row['who']}" if index % 7 == 0 else row["text"], row["class"])
        for index, row in enumerate(sampler.rows(num_rows))
    ]
    return _csv(("text", "class"), [(text, _two_classes(name)) for text, name in rows])


def _two_classes(name: str) -> str:
    return "Default" if name == "none" else "Spoiled"


def kold(sampler: TextSampler, split: str, num_rows: int) -> str:
    """A JSON list of comments, several per title."""
    titles = [sampler.fill("{person:이} {works}에 나온다", {}) for _ in range(num_rows // 4)]
    rows = [
        {
            "guid": f"kold-v1_{index:05d}",
            "source": "naver_news",
            "title": titles[index // 4 % len(titles)],
            "comment": row["comments"],
            "OFF": row["hate"] != "none",
        }
        for index, row in enumerate(sampler.rows(num_rows))
    ]
    return json.dumps(rows, ensure_ascii=False, indent=1)


def khaters(sampler: TextSampler, split: str, num_rows: int) -> str:
    """JSON lines of comments with four levels."""
    levels = {"none": "normal", "offensive": "offensive"}
    rows = []
    for row in sampler.rows(num_rows):
        hate = "L2_hate" if _WORST.search(row["text"]) else "L1_hate"
        rows.append({"text": row["comments"], "label": levels.get(row["class"], hate)})
    return _json_lines(rows)


def korfin(sampler: TextSampler, split: str, num_rows: int) -> str:
    """Headlines about one or two firms, with a row per firm."""
    rows = []
    for row in sampler.rows(num_rows):
        rows.append((row["title"], row["aspect"], row["class"]))
        if row["count"] == "two":
            rows.append((row["title"], row["rival"], _OPPOSITE[row["class"]]))
    return _csv(("title", "aspect", "sentiment"), rows[:num_rows])


def paws_x(sampler: TextSampler, split: str, num_rows: int) -> str:
    """Sentence pairs; in held-out splits, two of them have no translation."""
    lines = ["id\tsentence1\tsentence2\tlabel"]
    for index, row in enumerate(similarities(sampler, num_rows)):
        second = "NS" if split != "train" and index in (3, 9) else row["second"]
        lines.append(f"{index + 1}\t{row['first']}\t{second}\t{int(row['mean'] >= 3)}")
    return "".join(f"{line}\n" for line in lines)


def massive(sampler: TextSampler, split: str, num_rows: int) -> str:
    """Commands of all partitions with marked slots."""
    rows = []
    for index, row in enumerate(sampler.rows(num_rows)):
        partition = _PARTITIONS[(index % 10 == 0) + (index % 20 == 0)]
        template = sampler.pick(sampler.entries(f"commands {row['class']}"))
        text, spans = sampler.fill_spans(template, {})
        marked, position = "", 0
        for name, start, end in spans:
            if not name:  # a number
                continue
            marked += f"{text[position:start]}[{name} : {text[start:end]}]"
            position = end
        rows.append(
            {
                "id": str(index),
                "locale": "ko-KR",
                "partition": partition,
                "scenario": row["class"].partition("_")[0],
                "intent": row["class"],
                "utt": text,
                "annot_utt": marked + text[position:],
            }
        )
    return _json_lines(rows)


def sae4k(sampler: TextSampler, split: str, num_rows: int) -> str:
    """Utterances, their intent arguments and types, with a BOM and Windows line ends."""
    rows = sampler.rows(num_rows)
    lines = [f"{row['utterance']}\t{row['phrase']}\t{row['class']}" for row in rows]
    return "\ufeff" + "".join(f"{line}\r\n" for line in lines)


def korquad2(sampler: TextSampler, split: str, num_rows: int) -> str:
    """Articles as HTML pages."""
    pages = []
    for article in articles.korquad(sampler, num_rows):
        context, questions = f"<html><body><h1>{article['title']}</h1>", []
        for paragraph in article["paragraphs"]:
            context += "<p>"
            for question in paragraph["qas"]:
                (answer,) = question["answers"]
                start = len(context) + answer["answer_start"]
                answer = {"text": answer["text"], "answer_start": start}
                questions.append({"id": question["id"], "question": question["question"],
                                  "answer": answer})  # fmt: skip
            context += f"{paragraph['context']}</p>"
        context += "</body></html>"
        pages.append({"title": article["title"], "url": "", "context": context, "qas": questions})
    return json.dumps({"version": f"KorQuAD_2.1_{split}", "data": pages}, ensure_ascii=False)


def naver_ner(sampler: TextSampler, split: str, num_rows: int) -> str:
    """Sentences with a tag for each word, particles included."""
    lines = []
    for row in klue_ner(sampler, num_rows):
        tags, start = [], 0
        for word in row["text"].split(" "):
            end = start + len(word)
            tags.append(_word_tag(row["entities"], start, end))
            start = end + 1
        lines.append(f"{row['text']}\t{' '.join(tags)}\n")
    return "".join(lines)


def _word_tag(entities: Sequence[tuple], start: int, end: int) -> str:
    """The tag of the word at start..end, from the entity that overlaps it."""
    for first, last, kind in entities:
        if first < end and last > start:
            return f"{_NAVER_TYPES[kind]}-{'B' if first >= start else 'I'}"
    return "O"
