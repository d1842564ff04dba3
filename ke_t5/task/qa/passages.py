"""Answers in passages: splits long passages into windows, and decodes answers from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ke_t5.errors import UserError
from ke_t5.pipe.features import IGNORED
from ke_t5.pipe.prefixes import prefixed
from ke_t5.pipe.preprocessors import (
    LOST,
    OF,
    Batch,
    Example,
    examples_of,
    length_limit,
    map_over_batches,
)
from ke_t5.pipe.rows import ROW_ID
from ke_t5.task import spans, steps, text
from ke_t5.task.decoders import Examples, RowOutputs, input_text
from ke_t5.task.qa import answers
from ke_t5.task.qa.layouts import QUESTION_TOKENS, Layout, pair_layouts, text_layouts
from ke_t5.task.utils import get_vocabulary

ANSWER_COLUMNS = {
    "answers": [{"text": "text", "start": "integer"}],
    "is_impossible": "truth value",
}
STRIDE = 128  # the official KLUE-MRC setting (KLUE-baseline, run_all.sh)

# "No answer" is token 0: [CLS] if the tokenizer has one. For T5 it is the first piece of
# "question:", which every input starts with and no answer contains. The scripts and the pipeline of
# transformers use token 0 as well.
NULL_POSITION = 0

UNREACHABLE = (
    f"answers are not a run of 1 to {answers.MAX_ANSWER_TOKENS} whole tokens, or lie in no window"
)
QUESTION_CUT = f"questions cut at {QUESTION_TOKENS} tokens"
CUT_OFF = "answers are in the part of the passage that was cut off"


def references(row: Example) -> list[str] | None:
    """All correct answers without duplicates; [] if there is no answer, None if it is unknown."""
    if row["is_impossible"]:
        return []
    if not row["answers"]:
        return None
    return list(dict.fromkeys(answer["text"] for answer in row["answers"]))


def check_answers(row: Example) -> None:
    """Raises ValueError unless the answers of a row are found at their offsets."""
    for answer in () if row["is_impossible"] else row["answers"] or ():
        text, start = answer["text"], answer["start"]
        found = row["context"][start : start + len(text)] if start >= 0 else ""
        if not text or found != text:
            raise ValueError(f"the answer {text!r:.40} is not at {start}: found {found!r:.40}")


def answer_word(row: Example) -> str | None:
    """The target text of a row; None if it is unlabelled."""
    check_answers(row)
    return None if references(row) is None else text.answer_to_text(row)


# ------------------------------------------------------------------------------------- windows


@map_over_batches
def add_windows(
    batch: Batch, *, output_features: steps.Features, sequence_length: steps.Lengths
) -> Batch:
    """One example per window: `input_ids` (and segment ids), `start_positions`, `end_positions`
    (the last token of the answer), `offsets` (characters of the passage, [0, 0] outside it) and
    `may_start` (whether an answer may start at a token, see `answers.max_context`).

    The target is the first answer of the row; the null position if the window does not contain all
    of it; `IGNORED` for an unlabelled row. To save space, the columns for decoding and counts are
    only filled in the first window of a row.
    """
    tokenizer = steps.fast_tokenizer(output_features)
    limit = length_limit(sequence_length, "inputs", tokenizer)
    steps.for_each_row(batch, check_answers)
    rows = examples_of(batch)
    lay_out = text_layouts if tokenizer.sep_token is None else pair_layouts
    encoded, layouts = lay_out(tokenizer, rows)
    names = ["input_ids"]
    if "token_type_ids" in encoded and lay_out is pair_layouts:
        names.append("token_type_ids")
    columns: dict[str, list] = {}
    for number, (row, layout) in enumerate(zip(rows, layouts, strict=True)):
        tokens = {name: encoded[name][number] for name in names}
        for example in _windows_of(row, tokens, layout, limit):
            for name, value in example.items():
                columns.setdefault(name, []).append(value)
    return columns


def _windows_of(
    row: Example, tokens: Mapping[str, Sequence[int]], layout: Layout, limit: int
) -> list[Example]:
    """The examples of one row."""
    room = limit - len(layout.head) - len(layout.tail)
    if room < 1:
        raise UserError(
            f"max length {limit} leaves no room for the passage after {len(layout.head)} tokens",
            "get_dataset.sequence_length",
            f"set inputs to at least {2 * QUESTION_TOKENS}",
        )
    stride = min(STRIDE, max(1, room // 2))
    windows = spans.windows(len(layout.passage), size=room, stride=stride)
    gold = references(row)
    places = [_place(answer, row["context"], layout) for answer in row["answers"]] if gold else []
    masks = answers.max_context(windows)
    is_reachable = any(
        place and place.is_exact and place.is_reachable(windows, masks) for place in places
    )
    row_columns = {
        "question": row["question"],
        "context": row["context"],
        "gold": gold,
        f"{LOST}{UNREACHABLE}": int(bool(gold) and not is_reachable),
        f"{OF}{UNREACHABLE}": int(bool(gold)),
        f"{LOST}{QUESTION_CUT}": int(layout.is_question_cut),
        f"{OF}{QUESTION_CUT}": 1,
    }
    other_columns = {**dict.fromkeys(row_columns, 0), "question": "", "context": "", "gold": []}
    target = places[0] if places else None
    return [
        {
            **_window(tokens, layout, window, masks[number]),
            **_positions(target, window, layout, is_labelled=gold is not None),
            **(other_columns if number else row_columns),
            ROW_ID: row[ROW_ID],
        }
        for number, window in enumerate(windows)
    ]


def _window(
    tokens: Mapping[str, Sequence[int]], layout: Layout, window: spans.Span, may_start: np.ndarray
) -> Example:
    first, end = window
    positions = [*layout.head, *layout.passage[first:end], *layout.tail]
    columns = {name: [values[i] for i in positions] for name, values in tokens.items()}
    before, after = ([list(spans.NOWHERE)] * len(part) for part in (layout.head, layout.tail))
    padded = [len(before) * [False], may_start.tolist(), len(after) * [False]]
    return {
        **columns,
        "offsets": before + layout.characters[first:end] + after,
        "may_start": [may for part in padded for may in part],
    }


@dataclass(frozen=True)
class _Place:
    """The tokens (half-open, counted in the passage) of an answer.

    Attributes:
        is_exact: whether they decode to exactly this answer, and are not too many.
    """

    first: int
    end: int
    is_exact: bool

    def is_in(self, window: spans.Span) -> bool:
        """Whether the whole answer is in a window."""
        return window[0] <= self.first and self.end <= window[1]

    def is_reachable(self, windows: Sequence[spans.Span], masks: Sequence[np.ndarray]) -> bool:
        """Whether the whole answer is in a window where it may start, see `answers.max_context`."""
        return any(
            self.is_in(window) and mask[self.first - window[0]]
            for window, mask in zip(windows, masks, strict=True)
        )


def _place(answer: Mapping[str, Any], context: str, layout: Layout) -> _Place | None:
    start, end = answer["start"], answer["start"] + len(answer["text"])
    span = spans.token_span(layout.characters, start, end)
    if span is None:
        return None
    text_range = slice(*spans.character_span(context, layout.characters, *span))
    is_exact = context[text_range] == answer["text"].strip()
    return _Place(*span, is_exact and span[1] - span[0] <= answers.MAX_ANSWER_TOKENS)


def _positions(
    place: _Place | None, window: spans.Span, layout: Layout, *, is_labelled: bool
) -> dict[str, int]:
    """`start_positions` and `end_positions` (inclusive) in a window."""
    if not is_labelled:
        start = last = IGNORED
    elif place is None or not place.is_in(window):
        start = last = NULL_POSITION
    else:
        shift = len(layout.head) - window[0]
        start, last = place.first + shift, place.end - 1 + shift
    return {"start_positions": start, "end_positions": last}


def decode_answer(
    outputs: RowOutputs, examples: Examples, *, may_be_impossible: bool
) -> tuple[str, None]:
    """The best answer over all windows of a row, "" for none."""
    null_position = NULL_POSITION if may_be_impossible else None
    if "offsets" not in examples[0]:
        return _best_tokens(outputs, examples, null_position), None
    windows = [
        answers.Window(output["start"], output["end"], example["offsets"], example["may_start"])
        for output, example in zip(outputs, examples, strict=True)
    ]
    context = examples[0]["context"]
    return answers.best_answer(context, windows, null_position=null_position), None


def _best_tokens(outputs: RowOutputs, examples: Examples, null_position: int | None) -> str:
    """The best answer, given only the model's columns; may be in the question; "" for none."""
    windows, candidates = [], []
    for output, example in zip(outputs, examples, strict=True):
        # A placeholder passage with one character per token, so that offsets are token positions.
        tokens = example["input_ids"]
        places = [[i, i + 1] for i in range(len(tokens))]
        places[NULL_POSITION] = list(spans.NOWHERE)
        windows.append(answers.Window(output["start"], output["end"], places))
        best = answers.best_answers("x" * len(tokens), windows[-1:])[:1]
        candidates += [(one.score, tokens[one.start : one.end]) for one in best]
    if not candidates:
        return ""
    score, tokens = max(candidates, key=lambda answer: answer[0])
    if null_position is not None:
        if answers.null_score(windows, null_position=null_position) > score:
            return ""
    return _decoded(tokens)


def _decoded(tokens: Sequence[int]) -> str:
    return get_vocabulary().decode(tokens, skip_special_tokens=True).strip()


def gold_references(example: Example) -> list[str] | None:
    """All correct answers of a row, from its first window; given only the model's columns, the
    answer in the window, [] if there is none."""
    if "gold" in example:
        return example["gold"]
    start, last = example["start_positions"], example["end_positions"]
    if start == IGNORED:
        return None
    return [] if start == NULL_POSITION else [_decoded(example["input_ids"][start : last + 1])]


def question_and_passage(example: Example) -> str:
    """The question and passage of a row, from its first window, for display."""
    if "question" not in example:
        return input_text(example)
    return f"{example['question']} | {example['context']}"


# ------------------------------------------------------------------------------------ as text


@map_over_batches
def count_answers_cut_off(
    batch: Batch,
    *,
    output_features: steps.Features,
    sequence_length: steps.Lengths,
    tail: int | None = None,
    text_prefixes: Sequence[str] = (),
) -> Batch:
    """Counts the questions of which every answer is in the truncated end of the passage, or before
    its last `tail` characters.

    Without offsets (slow tokenizers) they are not counted.
    """
    tokenizer = output_features["input_ids"].load_tokenizer()
    if not tokenizer.is_fast:
        return batch
    limit = length_limit(sequence_length, "inputs", tokenizer)
    is_cut = batch[f"{LOST}{steps.inputs_cut(limit)}"]
    rows = examples_of(batch)
    seen = [[max(0, len(c) - tail) if tail else 0, len(c)] for c in batch["context"]]
    long_rows = [i for i, cut in enumerate(is_cut) if cut and references(rows[i])]
    if long_rows:
        texts = [prefixed([rows[i]["text"]], text_prefixes)[0] for i in long_rows]
        _, offsets, _ = steps.encode_with_offsets(tokenizer, texts, limit)
        for i, pairs, text in zip(long_rows, offsets, texts, strict=True):
            seen[i][1] += max(end for _, end in pairs) - len(text)
    answerable = [int(bool(references(row))) for row in rows]
    num_lost = [
        int(
            bool(is_answerable)
            and all(
                a["start"] < first or a["start"] + len(a["text"]) > last for a in row["answers"]
            )
        )
        for row, is_answerable, (first, last) in zip(rows, answerable, seen, strict=True)
    ]
    return {**batch, f"{LOST}{CUT_OFF}": num_lost, f"{OF}{CUT_OFF}": answerable}
