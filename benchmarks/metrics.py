"""Our metrics on Korean text compared with common libraries, which give equal values."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import cast

from benchmarks.rows import Runs, Setting, interleaved
from ke_t5.task.metrics import entity_f1 as our_entity_f1
from ke_t5.task.metrics import rouge as our_rouge

TYPES = ("PS", "LC", "OG", "DT", "TI", "QT")
SENTENCE_LENGTH = 57  # of KLUE-NER's, in characters
SYLLABLES = tuple(chr(0xAC00 + 28 * i) for i in range(399))


def sentences(number: int) -> tuple[list[list[str]], list[list[str]]]:
    """Character tags, and predictions of which four in five are right."""
    draw = random.Random(0)
    gold: list[list[str]] = []
    predicted: list[list[str]] = []
    for _ in range(number):
        tags = ["O"] * SENTENCE_LENGTH
        for start in range(0, SENTENCE_LENGTH - 6, draw.randint(8, 16)):
            kind = draw.choice(TYPES)
            tags[start : start + 4] = [f"B-{kind}", *[f"I-{kind}"] * 3]
        gold.append(tags)
        predicted.append([tag if draw.random() < 0.95 else "O" for tag in tags])
    return gold, predicted


def entity_f1(setting: Setting) -> dict[str, Runs]:
    """Macro F1 of exact entities in strict IOB2."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    number = setting.amount(5000)
    gold, predicted = sentences(number)

    def ours() -> float:
        return our_entity_f1(gold, predicted)["entity_f1"] / 100

    def theirs() -> float:
        found = f1_score(gold, predicted, average="macro", mode="strict", scheme=IOB2)
        return float(cast(float, found))  # a single number over all classes

    return compare(ours, theirs, "seqeval", number=number, rounds=setting.rounds)


def rouge(setting: Setting) -> dict[str, Runs]:
    """ROUGE-1, -2 and -L by syllables and by words, of summaries of 80 syllables."""
    from rouge_score.rouge_scorer import RougeScorer

    number = setting.amount(2000)
    draw = random.Random(0)
    golds = ["".join(draw.choices((*SYLLABLES, " "), k=80)) for _ in range(number)]
    guesses = ["".join(x if draw.random() < 0.7 else "가" for x in text) for text in golds]

    class Words:
        def __init__(self, tokenize: Callable[[str], list[str]]) -> None:
            self.tokenize = tokenize

    kinds = ["rouge1", "rouge2", "rougeL"]
    syllables = Words(lambda text: [x for x in text if x.strip()])

    def ours() -> float:
        found = our_rouge(golds, guesses)
        return sum(found[f"{kind}[syllable]"] for kind in kinds) / 100

    def theirs() -> float:
        total = 0.0
        for tokenizer in (syllables, Words(str.split)):
            scorer = RougeScorer(kinds, tokenizer=tokenizer)
            rows = [scorer.score(*pair) for pair in zip(golds, guesses, strict=True)]
            if tokenizer is syllables:
                total = sum(row[kind].fmeasure for row in rows for kind in kinds) / number
        return total

    return compare(ours, theirs, "rouge-score", number=number, rounds=setting.rounds)


def compare(
    ours: Callable[[], float], theirs: Callable[[], float], name: str, *, number: int, rounds: int
) -> dict[str, Runs]:
    """Compares the two, after checking that their values agree."""
    values = ours(), theirs()
    if not math.isclose(*values, rel_tol=1e-9):
        raise RuntimeError(f"ours gives {values[0]}, {name} {values[1]}")
    contenders = {"ours": lambda _: ours() and None, name: lambda _: theirs() and None}
    return interleaved(contenders, rounds=rounds, amount=number, warm_ups=1)
