"""A model that gives every row one answer: found in the predictions of an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

# Share of equal answers from which a model is said to give only one.
MOST_EQUAL = 0.99
# Spread of the numbers, relative to the gold ones, below which they count as one.
LEAST_SPREAD = 0.05
# Of fewer rows nothing is said.
LEAST_ROWS = 20


def one_answer_line(title: str, predictions: Sequence[dict[str, Any]]) -> str | None:
    """The warning if (almost) all rows got one answer and their gold answers differ, else None.

        3000 rows, all "neutral"    ->  "klue_nli validation: 3,000 of 3,000 answers are ..."
        tags, all of them O         ->  the same, of O
        numbers from 2.49 to 2.51   ->  "... 519 answers are about 2.5 ..."

    Args:
        title: task and split.
        predictions: lines of `predictions.jsonl`: `prediction`, and `gold` where there is one.
    """
    said = [line["prediction"] for line in predictions]
    gold = [line["gold"] for line in predictions if line.get("gold") is not None]
    if len(said) < LEAST_ROWS:
        return None
    if all(isinstance(answer, float) for answer in said):
        what = _one_number(said, gold)
    else:
        what = _one_class(said, gold)
    if what is None:
        return None
    return (
        f"{title}: {what}: the model tells nothing apart; likely causes: the learning rate "
        "(--learning_rate), no warm-up (--warmup 0.1), too few steps, a pooler drawn anew "
        "(EncoderForSequenceClassificationMean has none), or wrong labels"
    )


def _one_number(said: list[float], gold: list[Any]) -> str | None:
    numbers = np.array(said)
    if not np.isfinite(numbers).all():
        return None
    known = np.array([number for number in gold if isinstance(number, (int, float))], dtype=float)
    scale = known.std() if len(known) else max(abs(numbers.mean()), 1.0) / 10
    if scale == 0 or numbers.std() >= LEAST_SPREAD * scale:
        return None
    return f"all {len(numbers):,} answers are about {numbers.mean():.3g}"


def _one_class(said: list[Any], gold: list[Any]) -> str | None:
    (answer, count), *_ = Counter(map(_kind, said)).most_common(1)
    if count < MOST_EQUAL * len(said):
        return None
    same = sum(_kind(one) == answer for one in gold)
    if gold and same >= MOST_EQUAL * len(gold):
        return None
    share = f" (and {100 * same / len(gold):.1f} % of the gold ones)" if gold else ""
    return f"{count:,} of {len(said):,} answers are {_told(answer)}{share}"


def _kind(answer: Any) -> Any:
    """What two equally uninformed answers have in common: for tags, which ones there are."""
    if isinstance(answer, dict):
        answer = answer.get("relations", sorted(answer))
    if isinstance(answer, (list, tuple)):
        return tuple(sorted({str(part) for part in answer}))
    return answer


def _told(answer: Any) -> str:
    if answer is None:
        return "unparsable"
    if isinstance(answer, tuple):
        return " and ".join(answer) if answer else "empty"
    return repr(answer if len(str(answer)) <= 60 else f"{str(answer)[:57]}...")
