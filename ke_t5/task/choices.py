"""Multiple choice: turns a row with several alternatives into one text per alternative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.prefixes import prefixed
from ke_t5.pipe.preprocessors import (
    LOST,
    OF,
    Batch,
    Example,
    encode,
    examples_of,
    length_limit,
    map_over_batches,
)
from ke_t5.task import steps, text
from ke_t5.task.labels import Labels
from ke_t5.task.utils import get_vocabulary

# Each position holds one token per choice.
FEATURES = {
    "input_ids": Feature(get_vocabulary, rank=2, pad=None),
    "token_type_ids": Feature(rank=2, required=False),
}
ALIKE = "rows with choices that are the same tokens"


def numbers(choices: Sequence[str], keys: Sequence[str] = ()) -> Labels:
    """Labels that number the choices from 1.

    Args:
        keys: the values in the rows' label column; default: the same numbers.
    """
    return Labels(tuple(str(i) for i, _ in enumerate(choices, 1)), keys=tuple(keys))


def choice_segments(
    row: text.Row, *, fields: Mapping[str, str], choice: str, named: bool = True
) -> list[str]:
    """The text with one choice: one segment with the names of the fields, or two without them.

    >>> row = {"premise": "비가 온다.", "question": "결과", "choice1": "젖는다."}
    >>> fields = {"premise": "premise", "question": "question"}
    >>> choice_segments(row, fields=fields, choice="choice1")
    ['premise: 비가 온다. question: 결과 choice: 젖는다.']
    >>> choice_segments(row, fields=fields, choice="choice1", named=False)
    ['비가 온다. 결과', '젖는다.']
    """
    if named:
        return [text.join_fields(row, {**fields, "choice": choice})]
    return [text.join_fields(row, fields, named=False), row[choice]]


def all_choices(
    row: Example,
    *,
    fields: Mapping[str, str],
    choices: Sequence[str],
    prefix: str = "",
    named: bool = True,
) -> list[str]:
    """The text followed by the numbered choices, for a model that writes one of the numbers."""
    numbered = {str(i): choice for i, choice in enumerate(choices, 1)}
    return [text.join_fields(row, {**fields, **numbered}, prefix=prefix)]


@map_over_batches
def add_choices(
    batch: Batch,
    *,
    fields: Mapping[str, str],
    choices: Sequence[str],
    output_features: steps.Features,
    sequence_length: steps.Lengths,
    text_prefixes: Sequence[str] = (),
) -> Batch:
    """Adds `input_ids` (and segment ids), the tokens of the text with each choice, and `text`.

    The limit of `inputs` applies to each choice. Rows in which two choices have the same tokens
    are counted.
    """
    tokenizer = output_features["input_ids"].load_tokenizer()
    render = partial(choice_segments, fields=fields, named=tokenizer.sep_token is None)
    rows = examples_of(batch)
    segments = [
        prefixed(render(row, choice=choice), text_prefixes) for row in rows for choice in choices
    ]
    limit = length_limit(sequence_length, "inputs", tokenizer)
    encoded, num_cut = encode(tokenizer, [list(x) for x in zip(*segments, strict=True)], limit)
    starts = range(0, len(segments), len(choices))
    by_row = [encoded["input_ids"][i : i + len(choices)] for i in starts]
    columns: dict[str, Any] = {"input_ids": [side_by_side(ids, IGNORED) for ids in by_row]}
    if len(segments[0]) > 1 and "token_type_ids" in encoded:
        types = encoded["token_type_ids"]
        pairs = (types[i : i + len(choices)] for i in starts)
        columns["token_type_ids"] = [side_by_side(one, 0) for one in pairs]
    cut = f"choices with their text {steps.inputs_cut(limit).removeprefix('inputs ')}"
    return {
        **batch,
        **columns,
        "text": [shown(row, fields=fields, choices=choices) for row in rows],
        f"{LOST}{cut}": [sum(num_cut[i : i + len(choices)]) for i in starts],
        f"{OF}{cut}": [len(choices)] * len(rows),
        f"{LOST}{ALIKE}": [int(len(set(map(tuple, ids))) < len(ids)) for ids in by_row],
    }


def side_by_side(sequences: Sequence[Sequence[int]], filler: int) -> list[list[int]]:
    """The sequences transposed: for each position, the item of every sequence.

    >>> side_by_side([[5, 6, 7], [8]], -100)
    [[5, 8], [6, -100], [7, -100]]
    """
    return [list(numbers) for numbers in zip_longest(*sequences, fillvalue=filler)]


def shown(row: Example, *, fields: Mapping[str, str], choices: Sequence[str]) -> str:
    """The text and the numbered choices, for display."""
    numbered = [f"{i}: {row[choice]}" for i, choice in enumerate(choices, 1)]
    return " | ".join([*(row[column] for column in fields.values()), *numbered])


def displayed(example: Example) -> str:
    """The kept text; given only the model's columns, the decoded tokens of the first choice."""
    if "text" in example:
        return example["text"]
    ids = [places[0] for places in example["input_ids"] if places[0] != IGNORED]
    return get_vocabulary().decode(ids, skip_special_tokens=True)
