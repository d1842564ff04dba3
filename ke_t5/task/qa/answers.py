"""Answers from start and end scores over the windows of a passage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ke_t5.task.spans import Offsets, Span, character_span

# The official KLUE-MRC decoding (klue_baseline/models/machine_reading_comprehension.py).
NUM_BEST = 20
MAX_ANSWER_TOKENS = 30


@dataclass(frozen=True)
class Window:
    """A model's scores for one window.

    Args:
        start_logits, end_logits: one score per token, [tokens]; the end is the answer's last token.
        offsets: the tokens' characters in the whole passage; None for tokens outside it.
        may_start: whether an answer may start at a token, [tokens]; default: at any token.
    """

    start_logits: Sequence[float] | np.ndarray
    end_logits: Sequence[float] | np.ndarray
    offsets: Offsets
    may_start: Sequence[bool] | np.ndarray | None = None


@dataclass(frozen=True)
class Answer:
    """A span of the passage (half-open characters) with the sum of its start and end scores."""

    text: str
    start: int
    end: int
    score: float


def best_answers(
    context: str,
    windows: Sequence[Window],
    *,
    num_best: int = NUM_BEST,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
) -> list[Answer]:
    """At most `num_best` answers over all windows, best first, with distinct texts.

    In each window, the `num_best` best starts are combined with the `num_best` best ends. A pair is
    valid if both tokens are in the passage and in order, the answer has at most `max_answer_tokens`
    tokens, and it may start there (see `max_context`).
    """
    candidates = []
    for window in windows:
        starts, ends = _best(window.start_logits, num_best), _best(window.end_logits, num_best)
        inside = np.array([bool(o) and o[1] > o[0] for o in window.offsets], dtype=bool)
        length = ends[None, :] - starts[:, None] + 1
        valid = (length >= 1) & (length <= max_answer_tokens)
        valid &= inside[starts][:, None] & inside[ends][None, :]
        if window.may_start is not None:
            valid &= np.asarray(window.may_start, dtype=bool)[starts][:, None]
        start_logits, end_logits = np.asarray(window.start_logits), np.asarray(window.end_logits)
        for i, j in np.argwhere(valid):
            score = float(start_logits[starts[i]]) + float(end_logits[ends[j]])
            candidates.append((score, window.offsets, int(starts[i]), int(ends[j])))
    candidates.sort(key=lambda candidate: -candidate[0])
    answers: dict[str, Answer] = {}
    for score, offsets, first, last in candidates:
        start, end = character_span(context, offsets, first, last + 1)
        answers.setdefault(context[start:end], Answer(context[start:end], start, end, score))
        if len(answers) == num_best:
            break
    return list(answers.values())


def max_context(windows: Sequence[Span]) -> list[np.ndarray]:
    """For each window, which of its tokens have their maximum context there. In the official
    programs, an answer may only start at a token in that window.

    Context is the distance to the nearer end of the window plus a hundredth of its length; the
    first of equal windows wins. Source: `_check_is_max_context` of BERT's run_squad, which
    KLUE-baseline uses by way of transformers.

    Args:
        windows: tokens of the passage, half-open.

    >>> [mask.tolist() for mask in max_context([(0, 4), (2, 6)])]
    [[True, True, True, False], [False, True, True, True]]
    """
    context = np.full((len(windows), max(end for _, end in windows)), -np.inf)
    for row, (start, end) in zip(context, windows, strict=True):
        place = np.arange(end - start)
        row[start:end] = np.minimum(place, place[::-1]) + 0.01 * (end - start)
    best = context.argmax(0) if context.shape[1] else np.zeros(0, dtype=int)
    return [best[start:end] == number for number, (start, end) in enumerate(windows)]


def null_score(windows: Sequence[Window], *, null_position: int = 0) -> float:
    """The score of "no answer": the lowest score of the null position over the windows."""
    return min(
        float(window.start_logits[null_position]) + float(window.end_logits[null_position])
        for window in windows
    )


class AnswerText(str):
    """The text of an answer ("" for none) with its position in the passage.

    Attributes:
        span: half-open characters; None for no answer.
    """

    span: Span | None = None

    @classmethod
    def of(cls, answer: Answer) -> AnswerText:
        """The text of an answer."""
        text = cls(answer.text)
        text.span = answer.start, answer.end
        return text


def best_answer(
    context: str,
    windows: Sequence[Window],
    *,
    null_position: int | None = None,
    null_threshold: float = 0.0,
    **options: Any,
) -> AnswerText:
    """The text of the best answer over all windows, "" for none.

    Args:
        null_position: the token whose scores mean "no answer" ([CLS]); None if every question
            has an answer.
        null_threshold: the margin by which "no answer" must exceed the best answer.
        options: as for `best_answers`.
    """
    answers = best_answers(context, windows, **options)
    if not answers:
        return AnswerText()
    if null_position is not None:
        margin = null_score(windows, null_position=null_position) - answers[0].score
        if margin > null_threshold:
            return AnswerText()
    return AnswerText.of(answers[0])


def _best(logits: Sequence[float] | np.ndarray, num_best: int) -> np.ndarray:
    """Positions of the highest scores, in decreasing order; ties in order of position."""
    return np.argsort(-np.asarray(logits, dtype=np.float64), kind="stable")[:num_best]
