"""A warning about a model that gives the same answer to every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ke_t5.errors import counted_of

# The share of equal answers from which a warning is given.
MAX_EQUAL = 0.99
# The standard deviation of numbers, relative to the gold ones, below which they count as equal.
MIN_SPREAD = 0.05
# The minimum number of rows for a warning.
MIN_ROWS = 20


def one_answer_line(
    title: str, predictions: Sequence[Mapping[str, Any]], *, unpooled: str | None
) -> str | None:
    """A warning if (almost) all answers are equal although the gold answers differ, or None.

        3000 rows, all "neutral"    ->  "klue_nli validation: 3,000 of 3,000 answers are ..."
        tags, all of them O         ->  the same with 'O'
        numbers from 2.49 to 2.51   ->  "... 519 answers are about 2.5 ..."

    Args:
        title: task and split.
        predictions: lines of `predictions.jsonl`, with `prediction` and optionally `gold`.
        unpooled: if the model may read a pooler, a class that reads none.
    """
    predicted = [line["prediction"] for line in predictions]
    gold = [line["gold"] for line in predictions if line.get("gold") is not None]
    if len(predicted) < MIN_ROWS:
        return None
    if all(isinstance(answer, float) for answer in predicted):
        what = _one_number(predicted, gold)
    else:
        what = _one_class(predicted, gold)
    if what is None:
        return None
    pooler = f"a newly initialized pooler ({unpooled} has none), " if unpooled else ""
    return (
        f"{title}: {what}: the model does not distinguish its inputs; likely causes: the "
        "learning rate (--learning_rate), no warm-up (--warmup 0.1), too few steps, "
        f"{pooler}or wrong labels"
    )


def _one_number(predicted: list[float], gold: list[Any]) -> str | None:
    numbers = np.array(predicted)
    if not np.isfinite(numbers).all():
        return None
    labelled = np.array(
        [number for number in gold if isinstance(number, (int, float))], dtype=float
    )
    scale = labelled.std() if len(labelled) else max(abs(numbers.mean()), 1.0) / 10
    if scale == 0 or numbers.std() >= MIN_SPREAD * scale:
        return None
    return f"all {len(numbers):,} answers are about {numbers.mean():.3g}"


def _one_class(predicted: list[Any], gold: list[Any]) -> str | None:
    (answer, count), *_ = Counter(map(_content, predicted)).most_common(1)
    if count < MAX_EQUAL * len(predicted):
        return None
    same = sum(_content(one) == answer for one in gold)
    if gold and same >= MAX_EQUAL * len(gold):
        return None
    share = f" (and {100 * same / len(gold):.1f} % of the gold ones)" if gold else ""
    answers = counted_of(count, len(predicted), "answer", ("is", "are"), form=",")
    return f"{answers} {_quoted(answer)}{share}"


def _content(answer: Any) -> Any:
    """The answer in hashable form; tags and relations are reduced to their distinct values."""
    if isinstance(answer, dict):
        answer = answer.get("relations", sorted(answer))
    if isinstance(answer, (list, tuple)):
        return tuple(sorted({str(item) for item in answer}))
    return answer


def _quoted(answer: Any) -> str:
    if answer is None:
        return "unparsable"
    if isinstance(answer, tuple):
        return " and ".join(answer) if answer else "empty"
    return repr(answer if len(str(answer)) <= 60 else f"{str(answer)[:57]}...")
