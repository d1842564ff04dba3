"""Text formats: rows to input and target texts, and generated texts back to predictions.

The formats are those of KE-T5, so that models trained with them remain usable: a generative input
starts with the task's name (the `prefix`), an encoder's input is the same without it. Each function
that writes a target is followed by the one that parses a model's output. Parsing is strict: white
space aside, an output must be a text that the writer can produce; otherwise it is None, which
counts as a wrong answer (`unparsable`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

IMPOSSIBLE = "impossible"  # the target of a question without an answer
EMPTY_STATE = "none"  # the target of an empty dialogue state
SLOT_SEPARATOR = " | "  # occurs in no slot value of the WoS ontology, unlike ", " and "="

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")

# The columns that `relation` reads.
RELATION_COLUMNS = ("sentence", "subject", "object")

Row = Mapping[str, Any]
Span = tuple[int, int]


class LabelWords(Protocol):
    """The attributes of labels that are used here: the values in the rows, and their texts."""

    @property
    def keys(self) -> tuple[Hashable, ...]: ...

    @property
    def words(self) -> tuple[str, ...]: ...


def squeeze(text: str) -> str:
    """The text with runs of white space collapsed to one space, and stripped."""
    return " ".join(text.split())


# ------------------------------------------------------------------------------------------ inputs


def join_fields(
    row: Row, fields: Sequence[str] | Mapping[str, str], *, prefix: str = "", named: bool = True
) -> str:
    """The fields of a row as one text.

    Args:
        fields: the columns in order, or {name in the text: column}.
        prefix: the task's name for a generative model; empty for an encoder.
        named: whether each field follows its name.

    >>> row = {"premise": "비가 온다.", "hypothesis": "젖는다."}
    >>> join_fields(row, ["premise", "hypothesis"], prefix="klue_nli")
    'klue_nli premise: 비가 온다. hypothesis: 젖는다.'
    >>> join_fields({"text": "재미있다"}, {"sentence": "text"})
    'sentence: 재미있다'
    """
    columns = fields if isinstance(fields, Mapping) else {name: name for name in fields}
    parts = [f"{name}: {row[column]}" if named else row[column] for name, column in columns.items()]
    return " ".join([prefix, *parts] if prefix else parts)


def summarize(row: Row, *, kind: str) -> str:
    """The input of a summary: `summarize_summary: ARTICLE` or `summarize_topic: ARTICLE`."""
    return f"summarize_{kind}: {row['article']}"


def question(row: Row, *, prefix: str = "", with_context: bool = True) -> str:
    """A question, with or without its passage (trivia).

    The passage is at the end of the text, so its offsets are shifted by
    `len(text) - len(row["context"])`.

    >>> row = {"question": "수도는?", "context": "서울은 수도이다."}
    >>> question(row, prefix="korquad")
    'korquad question: 수도는? context: 서울은 수도이다.'
    >>> question(row, prefix="korquad", with_context=False)
    'korquad trivia question: 수도는?'
    """
    if with_context:
        return join_fields(row, ["question", "context"], prefix=prefix)
    return join_fields(row, {"trivia question": "question"}, prefix=prefix)


def dialogue(row: Row, *, prefix: str = "") -> str:
    """The turns of a dialogue, newest first, so that the oldest ones are truncated.

    >>> history = [{"role": "user", "text": "숙소요."}, {"role": "sys", "text": "어디요?"}]
    >>> dialogue({"history": history}, prefix="klue_dst")
    'klue_dst dialogue: sys: 어디요? user: 숙소요.'
    """
    turns = [f"{turn['role']}: {turn['text']}" for turn in reversed(row["history"])]
    return " ".join(filter(None, [prefix, "dialogue:", *turns]))


@dataclass(frozen=True)
class Marked:
    """A text with two marked entities, and their new spans (half-open characters, without the
    marks)."""

    text: str
    subject: Span
    object: Span


def mark_entities(
    sentence: str, subject: Row, object: Row, *, marks: tuple[str, str] = ("*", "#")
) -> Marked:
    """The sentence with `*subject*` and `#object#`; entities are {"start", "end"[, "word"]}.

    The entities may touch, nest, cross or be the same: all marks are inserted at once, by position.
    At the same position, the inner entity closes first and the outer one opens first.

    >>> mark_entities("(주)에이의 C++", {"start": 0, "end": 5}, {"start": 7, "end": 10}).text
    '*(주)에이*의 #C++#'
    >>> mark_entities("서울대", {"start": 0, "end": 3}, {"start": 0, "end": 2})
    Marked(text='*#서울#대*', subject=(1, 6), object=(2, 4))

    Raises:
        ValueError: a span is empty, outside the sentence, or does not contain its word.
    """
    spans = [_checked_span(sentence, subject, "subject"), _checked_span(sentence, object, "object")]
    # (position, opens, tie-breaker for marks at one position, entity, mark)
    insertions = sorted(
        event
        for entity, (start, end) in enumerate(spans)
        for event in (
            (start, True, -end, entity, marks[entity]),
            (end, False, -start, -entity, marks[entity]),
        )
    )
    pieces, moved, length, done = [], [[0, 0], [0, 0]], 0, 0
    for position, opens, _, entity, mark in insertions:
        length += position - done
        pieces += [sentence[done:position], mark]
        moved[abs(entity)][not opens] = length + (len(mark) if opens else 0)
        length, done = length + len(mark), position
    text = "".join(pieces) + sentence[done:]
    (start, end), (other_start, other_end) = moved
    return Marked(text, (start, end), (other_start, other_end))


def _checked_span(sentence: str, entity: Row, role: str) -> Span:
    start, end = entity["start"], entity["end"]
    if not 0 <= start < end <= len(sentence):
        raise ValueError(f"{role} {start}..{end}: outside the {len(sentence)} characters, or empty")
    word = entity.get("word")
    if word is not None and sentence[start:end] != word:
        raise ValueError(f"{role} {start}..{end}: got {sentence[start:end]!r}, expected {word!r}")
    return start, end


def relation(row: Row, *, prefix: str = "", named: bool = True) -> Marked:
    """The text `klue_re text: ...` of a row's sentence with subject and object marked."""
    marked = mark_entities(row["sentence"], row["subject"], row["object"])
    text = join_fields({"text": marked.text}, ["text"], prefix=prefix, named=named)
    shift = len(text) - len(marked.text)
    (s, t), (u, v) = marked.subject, marked.object
    return Marked(text, (s + shift, t + shift), (u + shift, v + shift))


# ----------------------------------------------------------------------------- targets and outputs


def text_to_label(labels: LabelWords, text: str) -> Hashable | None:
    """The label (key) with the generated text; None if there is none.

    >>> from ke_t5.task.labels import NSMC
    >>> text_to_label(NSMC, " positive "), text_to_label(NSMC, "positively")
    ('1', None)
    """
    wanted = squeeze(text)
    for key, word in zip(labels.keys, labels.words, strict=True):
        if squeeze(word) == wanted:
            return key
    return None


def label_separator(labels: LabelWords) -> str:
    """The separator between the words of a set of labels: the first of `, `, ` | `, ` ; `, ` || `,
    ` ||| `, ... that is in no word."""
    bars = (f" {'|' * count} " for count in itertools.count(2))
    return next(
        separator
        for separator in itertools.chain((", ", " | ", " ; "), bars)
        if not any(separator.strip() in word for word in labels.words)
    )


def no_label_word(labels: LabelWords) -> str:
    """The target text of a row with none of the labels, different from every label."""
    word = "none"
    while word in map(squeeze, labels.words):
        word = f"no {word}"
    return word


def label_set_to_text(labels: LabelWords, names: Sequence[int]) -> str:
    """The target text of a set of label ids.

    >>> from ke_t5.task.labels import NSMC
    >>> label_set_to_text(NSMC, [0, 1]), label_set_to_text(NSMC, [])
    ('negative, positive', 'none')
    """
    words = [squeeze(labels.words[i]) for i in names]
    return label_separator(labels).join(words) or no_label_word(labels)


def text_to_label_set(labels: LabelWords, text: str) -> list[int] | None:
    """The sorted label ids of a generated text; None if a part is not a label.

    >>> from ke_t5.task.labels import NSMC
    >>> text_to_label_set(NSMC, "positive,negative"), text_to_label_set(NSMC, "none")
    ([0, 1], [])
    >>> text_to_label_set(NSMC, "positive, fine") is None
    True
    """
    if squeeze(text) == no_label_word(labels):
        return []
    ids = {squeeze(word): i for i, word in enumerate(labels.words)}
    parts = [squeeze(part) for part in text.split(label_separator(labels).strip())]
    found = {ids.get(part) for part in parts}
    return None if None in found else sorted(i for i in found if i is not None)


def number_to_text(value: float) -> str:
    """A score with one decimal: 3.4444 -> '3.4'."""
    text = f"{round(value, 1):.1f}"
    return "0.0" if text == "-0.0" else text


def text_to_number(text: str) -> float | None:
    """The number in a generated text of digits ('3.4', '3'); None for anything else ('nan')."""
    wanted = squeeze(text)
    return float(wanted) if _NUMBER.fullmatch(wanted) else None


def answer_to_text(row: Row) -> str:
    """The target text of a question: its first answer, or `impossible`."""
    return IMPOSSIBLE if row["is_impossible"] or not row["answers"] else row["answers"][0]["text"]


def text_to_answer(text: str) -> str:
    """The answer in a generated text; empty for `impossible`, as the metrics expect."""
    answer = text.strip()
    return "" if answer == IMPOSSIBLE else answer


def state_to_text(state: Sequence[str]) -> str:
    """The text of a dialogue state, a list of "domain-slot-value" strings.

    >>> state_to_text(["식당-지역-서울 동쪽", "식당-종류-일식당"])
    '식당-지역-서울 동쪽 | 식당-종류-일식당'
    >>> state_to_text([])
    'none'

    Raises:
        ValueError: an entry contains the separator, so it could not be parsed again.
    """
    for entry in state:
        if SLOT_SEPARATOR.strip() in entry:
            raise ValueError(f"state entry {entry!r} contains the separator {SLOT_SEPARATOR!r}")
    return SLOT_SEPARATOR.join(map(squeeze, state)) or EMPTY_STATE


def text_to_state(text: str) -> list[str]:
    """The entries of the state in a generated text, in order and without duplicates.

    Entries that are not "domain-slot-value" are kept, and count as wrong.
    """
    entries = [squeeze(entry) for entry in text.split(SLOT_SEPARATOR.strip())]
    if entries == [EMPTY_STATE]:
        return []
    return list(dict.fromkeys(entry for entry in entries if entry))
