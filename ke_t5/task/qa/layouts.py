"""The positions of question and passage in the tokens of their untruncated encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ke_t5.pipe.preprocessors import Example
from ke_t5.task import text

# The official KLUE-MRC setting (KLUE-baseline, run_all.sh).
QUESTION_TOKENS = 64


@dataclass(frozen=True)
class Layout:
    """The parts of an untruncated encoding, as positions of tokens.

    Attributes:
        head: the tokens before the passage in every window, with the question truncated.
        passage: the tokens of the passage.
        tail: the special tokens after the passage.
        characters: [start, end] in the passage of each of its tokens.
        is_question_cut: whether the question was truncated.
    """

    head: list[int]
    passage: list[int]
    tail: list[int]
    characters: list[list[int]]
    is_question_cut: bool


def layout(kinds: Sequence[int | None], characters: list[list[int]]) -> Layout:
    """The layout of tokens by their kind: 0 for the question, 1 for the passage, None otherwise."""
    passage = [i for i, kind in enumerate(kinds) if kind == 1]
    border = passage[0] if passage else len(kinds)
    question = [i for i in range(border) if kinds[i] == 0]
    left_out = set(question[QUESTION_TOKENS:])
    return Layout(
        [i for i in range(border) if i not in left_out],
        passage,
        list(range(passage[-1] + 1, len(kinds))) if passage else [],
        [characters[i] for i in passage],
        bool(left_out),
    )


def pair_layouts(tokenizer: Any, rows: Sequence[Example]) -> tuple[dict, list[Layout]]:
    """Encodings and layouts of question and passage as two segments, if there is a separator."""
    columns = [row["question"] for row in rows], [row["context"] for row in rows]
    encoded = tokenizer(*columns, return_offsets_mapping=True, verbose=False)
    offsets = encoded["offset_mapping"]
    return dict(encoded), [
        layout(encoded.sequence_ids(i), [list(pair) for pair in offsets[i]])
        for i in range(len(rows))
    ]


def text_layouts(tokenizer: Any, rows: Sequence[Example]) -> tuple[dict, list[Layout]]:
    """Encodings and layouts of `question: Q context: C` as one text, for T5."""
    texts = [text.question(row) for row in rows]
    encoded = tokenizer(texts, return_offsets_mapping=True, verbose=False)
    layouts = []
    for row, whole, offsets in zip(rows, texts, encoded["offset_mapping"], strict=True):
        shift = len(whole) - len(row["context"])
        question_end = len(text.join_fields(row, ["question"]))
        kinds: list[int | None] = [None] * len(offsets)
        for i, (start, end) in enumerate(offsets):
            if end > start and (end <= question_end or end > shift):
                kinds[i] = int(end > shift)
        # The first token of the passage may begin with the space before it.
        moved = [[max(0, start - shift), end - shift] for start, end in offsets]
        layouts.append(layout(kinds, moved))
    return dict(encoded), layouts
