"""Files of NIKL's contest (nikluge): objects with an input and, except for the test, an output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from ke_t5.sample import articles
from ke_t5.sample.sampler import TextSampler
from ke_t5.sample.sentences import similarities

# Emotion of the contest -> corresponding feelings of KOTE.
_FEELINGS = {
    "joy": "1 2 13 14 28 32 40 42", "anticipation": "8 15", "trust": "4 7 43",
    "surprise": "29 34 39", "disgust": "3 20 21", "fear": "18 35 41",
    "anger": "0 6 22 23 31", "sadness": "5 10 19 27 36",
}  # fmt: skip
Inputs = Iterator[tuple[object, object]]


def _ea(sampler: TextSampler, num_rows: int) -> Inputs:
    for row in sampler.rows(num_rows):
        felt = set(row["labels"].split(","))
        output = {name: str(bool(felt & set(ids.split()))) for name, ids in _FEELINGS.items()}
        target = row["text"].split()[0]
        yield {
            "form": row["text"], "target": {"form": target, "begin": 0, "end": len(target)}
        }, output  # fmt: skip


def _insults(sampler: TextSampler, num_rows: int) -> Inputs:
    for row in sampler.rows(num_rows):
        yield row["comments"], int(row["class"] != "none")


def _meant(sampler: TextSampler, num_rows: int) -> Inputs:
    for row in sampler.rows(num_rows):
        yield row["comments"], "POSITIVE" if row["class"] == "none" else "NEGATIVE"


def _sa(sampler: TextSampler, num_rows: int) -> Inputs:
    for row in sampler.rows(num_rows):
        yield row["text"], [[row["aspect"], [None, 0, 0], row["class"]]]


def _nli(sampler: TextSampler, num_rows: int) -> Inputs:
    for row in similarities(sampler, num_rows):
        given = {"context": row["first"], "prompt": row["second"]}
        yield given, round(row["mean"] * 1.2 - 3, 2)


def _sc(sampler: TextSampler, num_rows: int) -> Inputs:
    for article in articles.korquad(sampler, num_rows):
        for paragraph in article["paragraphs"]:
            sentences = paragraph["context"].split(". ")[:3]
            if len(sentences) == 3:
                first, middle, last = (f"{one.rstrip('.')}." for one in sentences)
                yield {"sentence1": first, "sentence3": last}, middle


def _gtps(sampler: TextSampler, num_rows: int) -> Inputs:
    for _ in range(num_rows):
        firm, amounts = sampler.word("firm"), [sampler.between(2, 98) for _ in range(2)]
        cells = [["연도", "매출"], *([f"{2018 + i}년", f"{n}억원"] for i, n in enumerate(amounts))]
        table = [
            {"value": value, "is_header": row == 0, "col": col, "colspan": 1, "row": row,
             "rowspan": 1}
            for row, values in enumerate(cells)
            for col, value in enumerate(values)
        ]  # fmt: skip
        text = f"{firm}의 매출은 2018년 {amounts[0]}억원, 2019년 {amounts[1]}억원이다."
        about = {"title": firm, "table_title": f"{firm} 매출",
                 "highlighted_cells": [[1, 1], [1, 2]]}  # fmt: skip
        yield {"metadata": about, "table": table}, [text]


def _cci(sampler: TextSampler, num_rows: int) -> Inputs:
    for row in sampler.rows(num_rows):
        texts = [row["right"], row["wrong"], "아무 일도 없었다."]
        places = sampler.shuffled([0, 1, 2])
        utterances = [row["sentence"], "그래서 어떻게 됐어?"]
        yield (
            {
                "conversation": _conversation(utterances),
                "reference_id": ["u1"],
                "category": row["question"],
                **{f"inference_{i}": texts[place] for i, place in enumerate(places, 1)},
            },
            f"inference_{places.index(0) + 1}",
        )


def _dcs(sampler: TextSampler, num_rows: int) -> Inputs:
    rows = sampler.rows(2 * num_rows)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        yield (
            {
                "conversation": _conversation([first["utterance"], second["utterance"]]),
                "subject_keyword": [first["place"]],
            },
            f"{first['phrase']}, {second['phrase']}",
        )


def _conversation(utterances: list[str]) -> list[dict]:
    return [
        {"speaker": f"P{i}", "utterance": text, "utterance_id": f"u{i}"}
        for i, text in enumerate(utterances, 1)
    ]


_TASKS: dict[str, Callable[[TextSampler, int], Inputs]] = {
    "ea": _ea, "au": _insults, "iau": _meant, "sa": _sa, "nli": _nli, "sc": _sc, "gtps": _gtps,
    "cci": _cci, "dcs": _dcs,
}  # fmt: skip


def nikluge(sampler: TextSampler, name: str, split: str, num_rows: int) -> str:
    """The lines of a split of a task; `name` is "nikluge-<task>-<year>"."""
    task, lines = name.split("-")[1], []
    for number, (given, output) in enumerate(_TASKS[task](sampler, num_rows), 1):
        row = {"id": f"{name}-{split}-{number:06d}"}
        if task == "sa":
            row |= {"sentence_form": given, "annotation": [] if split == "test" else output}
        else:
            row |= {"input": given, "output": "" if split == "test" else output}
        lines.append(json.dumps(row, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)
