"""Preprocessors: functions over a dataset, most of them made from a function of examples.

A preprocessor is `f(dataset, *, sequence_length=None, output_features=None)`. The decorators make
one from a function of an example (a dict) or of a batch (a dict of lists); neighbouring ones run
in a single `Dataset.map`. Of the two keyword arguments a function gets those that it declares, and
never one that a `functools.partial` has already fixed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.rows import ROW_ID

if TYPE_CHECKING:
    import datasets

Example = dict[str, Any]
Batch = dict[str, list[Any]]

# Columns named so count what a step lost of each row, and of how many ("lost:entities cut",
# "of:entities cut"; of rows where there is no such column). Reported, never fed to a model.
LOST, OF = "lost:", "of:"


def _unwrap(step: Callable) -> Callable:
    while isinstance(step, functools.partial):
        step = step.func
    return step


def fixed_arguments(step: Callable) -> set[str]:
    """Names that the partials around `step` have fixed."""
    fixed: set[str] = set()
    while isinstance(step, functools.partial):
        fixed |= set(step.keywords)
        step = step.func
    return fixed


def inject(step: Callable, **offered: Any) -> Callable:
    """`step` with those offered keyword arguments that it declares and nobody has fixed."""
    function = _unwrap(step)
    declared = inspect.signature(getattr(function, "example_function", function)).parameters
    fixed = fixed_arguments(step)
    wanted = {
        name: value for name, value in offered.items() if name in declared and name not in fixed
    }
    return functools.partial(step, **wanted) if wanted else step


def _to_examples(batch: Batch) -> list[Example]:
    names = list(batch)
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(batch[name] for name in names), strict=True)
    ]


def _to_batch(examples: Sequence[Example]) -> Batch:
    return {name: [example[name] for example in examples] for name in examples[0]}


def map_over_batches(function: Callable[..., Batch]) -> Callable:
    """A preprocessor from `function(batch, ...) -> batch`, whose result replaces the batch.

    The result may hold another number of rows (windows of a document) if it carries `_id` itself;
    where it has the same number of rows, `_id` is carried along.
    """

    @functools.wraps(function)
    def preprocessor(dataset: datasets.Dataset, **arguments: Any) -> datasets.Dataset:
        step = functools.partial(preprocessor, **arguments)
        return dataset.map(run_steps([step]), batched=True, remove_columns=dataset.column_names)

    preprocessor.example_function = function
    preprocessor.batch_function = function
    return preprocessor


def map_over_dataset(function: Callable[..., Example]) -> Callable:
    """A preprocessor from `function(example, ...) -> example`; the result replaces the example."""

    def over_batch(batch: Batch, **arguments: Any) -> Batch:
        return _to_batch([function(example, **arguments) for example in _to_examples(batch)])

    preprocessor = map_over_batches(over_batch)
    functools.update_wrapper(preprocessor, function)
    preprocessor.example_function = function
    preprocessor.batch_function = over_batch
    return preprocessor


def is_mapped(step: Callable) -> bool:
    """Whether `step` was made by one of the two decorators and can share a map with others."""
    return hasattr(_unwrap(step), "batch_function")


def _apply(step: Callable, batch: Batch) -> Batch:
    if not isinstance(step, functools.partial):
        return step.batch_function(batch)
    keywords: dict[str, Any] = {}
    inner: Callable = step
    while isinstance(inner, functools.partial):
        keywords = {**inner.keywords, **keywords}
        inner = inner.func
    return inner.batch_function(batch, **keywords)


def run_steps(steps: Sequence[Callable]) -> Callable[[Batch], Batch]:
    """One batch function that runs the mapped `steps` in turn; {} where a step leaves no row.

    `_id` and the counts of what was lost (columns named `lost:...`) are carried along by steps that
    keep the number of rows.
    """

    def run(batch: Batch) -> Batch:
        for step in steps:
            num_rows = len(next(iter(batch.values()), []))
            made = dict(_apply(step, batch))
            num_made = len(next(iter(made.values()), []))
            if num_made == 0:
                return {}
            if num_made == num_rows:
                carried = [name for name in batch if name == ROW_ID or name.startswith((LOST, OF))]
                made = {**{name: batch[name] for name in carried}, **made}
            batch = made
        return batch

    return run


# ------------------------------------------------------------------ steps that many tasks share


@map_over_dataset
def rekey(example: Example, *, key_map: Mapping[str, str | None]) -> Example:
    """The example under new names.

    >>> rekey.example_function({"document": "a", "label": 1}, key_map={"text": "document"})
    {'text': 'a'}
    >>> rekey.example_function({"document": "a"}, key_map={"text": "document", "title": None})
    {'text': 'a', 'title': ''}
    """
    return {new: example[old] if old else "" for new, old in key_map.items()}


def length_limit(sequence_length: Mapping[str, int] | None, key: str, tokenizer: Any) -> int:
    """Tokens that `inputs` or `targets` may have: what was asked for, within what the tokenizer's
    model can take (a tokenizer that knows no limit says a number of 30 digits)."""
    asked = (sequence_length or {}).get(key) or 512
    return min(asked, tokenizer.model_max_length)


@map_over_batches
def tokenize(
    batch: Batch,
    *,
    output_features: Mapping[str, Any],
    sequence_length: Mapping[str, int] | None = None,
    source: str = "inputs",
    pair: str | None = None,
    into: str = "input_ids",
    limit: str | None = None,
) -> Batch:
    """Adds the column `into` with the token ids of `source` (and `pair` as a second segment),
    special tokens included, cut at `sequence_length[limit or source]`; rows cut are counted.

    Where the tokenizer makes segment ids and there is a pair, `token_type_ids` come along.
    """
    tokenizer = output_features[into].tokenizer()
    max_length = length_limit(sequence_length, limit or source, tokenizer)
    texts = [_texts_of(batch, name) for name in (source, pair) if name is not None]
    encoded, num_cut = encode(tokenizer, texts, max_length)
    columns = {into: encoded["input_ids"]}
    if pair is not None and "token_type_ids" in encoded:
        columns["token_type_ids"] = encoded["token_type_ids"]
    return {**batch, **columns, f"{LOST}{limit or source} cut at {max_length} tokens": num_cut}


def _texts_of(batch: Batch, name: str) -> list[str]:
    """A column of texts (or of lists of words); an empty cell of a CSV is none."""
    for place, value in enumerate(batch[name]):
        if not isinstance(value, (str, list, tuple)):
            raise UserError(
                f"column {name!r} holds {value!r:.40}, expected a text",
                f"row {batch[ROW_ID][place] if ROW_ID in batch else place}",
                "fill that cell or leave the row out",
                Exit.DATA,
            )
    return batch[name]


def encode(
    tokenizer: Any, texts: Sequence[list[str]], max_length: int
) -> tuple[dict[str, list[list[int]]], list[int]]:
    """Token ids of the texts (or pairs) cut at `max_length`, and 1 for each row that was cut.

    Raises:
        UserError: the tokenizer's own marks are more than that.
    """
    encoded = dict(tokenizer(*texts, add_special_tokens=True, verbose=False))
    too_long = [i for i, ids in enumerate(encoded["input_ids"]) if len(ids) > max_length]
    if too_long:
        some = [[column[i] for i in too_long] for column in texts]
        num_marks = tokenizer.num_special_tokens_to_add(pair=len(texts) == 2)
        if num_marks > max_length:
            raise UserError(
                f"{max_length} tokens have no room for the tokenizer's {num_marks} marks",
                "get_dataset.sequence_length",
                "raise it",
            )
        cut = tokenizer(*some, truncation=True, max_length=max_length, verbose=False)
        for name, column in encoded.items():
            for place, row in enumerate(too_long):
                column[row] = cut[name][place]
    num_cut = [0] * len(texts[0])
    for row in too_long:
        num_cut[row] = 1
    return encoded, num_cut


@map_over_dataset
def trim(
    example: Example,
    *,
    sequence_length: Mapping[str, int],
    key: str = "input_ids",
    limit: str = "inputs",
) -> Example:
    """The example with `key` cut at `sequence_length[limit]` tokens.

    >>> trim.example_function({"input_ids": [5, 6, 7]}, sequence_length={"inputs": 2})
    {'input_ids': [5, 6], 'lost:inputs cut at 2 tokens': 1}
    """
    length = sequence_length[limit]
    cut = int(len(example[key]) > length)
    lost = f"{LOST}{limit} cut at {length} tokens"
    return {**example, key: example[key][:length], lost: cut}


@map_over_dataset
def append_eos(
    example: Example,
    *,
    output_features: Mapping[str, Any],
    sequence_length: Mapping[str, int] | None = None,
    key: str = "input_ids",
    limit: str = "inputs",
) -> Example:
    """The example with the end mark after `key`, which gives up its last token where it is full.

    With the end mark 1 and a length of 3: [5, 6] -> [5, 6, 1]; [5, 6, 7] -> [5, 6, 1], counted as
    cut once, be it after `trim`.
    """
    ids, counted = list(example[key]), {}
    if sequence_length and limit in sequence_length:
        length = sequence_length[limit]
        lost = f"{LOST}{limit} cut at {length} tokens"
        counted[lost] = max(example.get(lost, 0), int(len(ids) >= length))
        ids = ids[: length - 1]
    return {**example, **counted, key: [*ids, output_features[key].tokenizer().eos_token_id]}


def require_columns(names: Sequence[str], batch: Batch, *, whose: str) -> None:
    """Raises UserError where a column that `whose` needs is missing."""
    missing = [name for name in names if name not in batch]
    if missing:
        raise UserError(
            f"needs the column {missing[0]!r}, the rows have {', '.join(sorted(batch))}",
            whose,
            f"rename it: HFDataSource(..., rename={{'<name there>': {missing[0]!r}}})",
            Exit.DATA,
        )
