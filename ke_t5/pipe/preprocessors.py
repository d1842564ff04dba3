"""Preprocessors: functions over a data set, most of them made from a function of examples.

A preprocessor is `f(dataset, *, sequence_length=None, output_features=None)`. The decorators make
one from a function of an example (a dict) or of a batch (a dict of lists); consecutive ones run in
a single `Dataset.map`. A function is passed only those of the two keyword arguments that it
declares, and never one that a `functools.partial` has fixed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.rows import ROW_ID

if TYPE_CHECKING:
    import datasets

Example = dict[str, Any]
Batch = dict[str, list[Any]]

# Columns with these prefixes count what a step lost in each row and out of how many ("lost:entities
# cut", "of:entities cut"; without the latter, rows). They are reported, never passed to a model.
LOST, OF = "lost:", "of:"


def _unwrap(step: Callable) -> Callable:
    while isinstance(step, functools.partial):
        step = step.func
    return step


def fixed_arguments(step: Callable) -> set[str]:
    """The names of arguments that the partials around `step` have fixed."""
    fixed: set[str] = set()
    while isinstance(step, functools.partial):
        fixed |= set(step.keywords)
        step = step.func
    return fixed


def inject(step: Callable, **offered: Any) -> Callable:
    """`step` with those of the offered arguments that it declares and no partial has fixed."""
    function = _unwrap(step)
    declared = inspect.signature(getattr(function, "example_function", function)).parameters
    fixed = fixed_arguments(step)
    arguments = {
        name: value for name, value in offered.items() if name in declared and name not in fixed
    }
    return functools.partial(step, **arguments) if arguments else step


def examples_of(batch: Batch) -> list[Example]:
    """The rows of a batch.

    >>> examples_of({"text": ["a", "b"], "label": [0, 1]})
    [{'text': 'a', 'label': 0}, {'text': 'b', 'label': 1}]
    """
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


def step_name(step: Callable) -> str:
    """The name of a step's function, for messages."""
    return f"step {getattr(_unwrap(step), '__name__', type(step).__name__)}"


def _to_batch(examples: Sequence[Example], rows: Batch, where: str) -> Batch:
    """The columns of examples that a step made of these rows.

    Raises:
        UserError: an example is not a dict or has other columns than the first; with its row.
    """
    for place, example in enumerate(examples):
        is_dict = isinstance(example, Mapping)
        if is_dict and example.keys() == examples[0].keys():
            continue
        what, fix = f"returns {type(example).__name__}, expected a dict", "return the example"
        if is_dict:
            name = sorted(map(str, example.keys() ^ examples[0].keys()))[0]
            what = f"returns the column {name!r} for some rows only"
            fix = "return the same columns for every row"
        row = rows[ROW_ID][place] if ROW_ID in rows else place
        raise UserError(what, f"{where}, row {row}", fix, Exit.DATA)
    return {name: [example[name] for example in examples] for name in examples[0]}


def map_over_batches(function: Callable[..., Batch]) -> Callable:
    """A preprocessor from `function(batch, ...) -> batch`; the result replaces the batch.

    A result with another number of rows (windows of a document) must contain `_id`; with the same
    number of rows, `_id` is added.
    """

    def over_dataset(dataset: datasets.Dataset, **arguments: Any) -> datasets.Dataset:
        step = functools.partial(preprocessor, **arguments)
        return dataset.map(run_steps([step]), batched=True, remove_columns=dataset.column_names)

    preprocessor: Any = functools.wraps(function)(over_dataset)
    preprocessor.example_function = function
    preprocessor.batch_function = function
    return preprocessor


def map_over_dataset(function: Callable[..., Example]) -> Callable:
    """A preprocessor from `function(example, ...) -> example`; the result replaces the example."""

    def over_batch(batch: Batch, **arguments: Any) -> Batch:
        examples = [function(example, **arguments) for example in examples_of(batch)]
        return _to_batch(examples, batch, step_name(function))

    preprocessor: Any = map_over_batches(over_batch)
    functools.update_wrapper(preprocessor, function)
    preprocessor.example_function = function
    preprocessor.batch_function = over_batch
    return preprocessor


def is_mapped(step: Callable) -> bool:
    """Whether one of the two decorators made `step`, so that it can share a map with others."""
    return hasattr(_unwrap(step), "batch_function")


def _apply(step: Callable, batch: Batch) -> Batch:
    keywords: dict[str, Any] = {}
    inner: Any = step
    while isinstance(inner, functools.partial):
        keywords = {**inner.keywords, **keywords}
        inner = inner.func
    result = inner.batch_function(batch, **keywords)
    _check_columns(result, step_name(step))
    return dict(result)


def _check_columns(result: Any, where: str) -> None:
    """Raises UserError unless a step returned a dict of columns of one length."""
    if not isinstance(result, Mapping):
        what = f"returns {type(result).__name__}, expected a dict of columns"
        raise UserError(what, where, "return the batch", Exit.DATA)
    lengths: dict[int, str] = {}
    for name, column in result.items():
        if not hasattr(column, "__len__"):
            what = f"returns {type(column).__name__} for {name!r}, expected a list"
            raise UserError(what, where, "return a value for each row", Exit.DATA)
        lengths.setdefault(len(column), name)
    if len(lengths) > 1:
        (first, one), (second, other) = [*lengths.items()][:2]
        what = f"returns {first} values for {one!r}, but {second} for {other!r}"
        raise UserError(what, where, "return a value for each row", Exit.DATA)


def run_steps(steps: Sequence[Callable]) -> Callable[[Batch], Batch]:
    """One batch function that runs the mapped `steps` in turn and returns {} if one drops all rows.

    Lost counts (columns `lost:...`) are carried along, by `_id` if a step returns it; so is `_id`
    across steps that keep the number of rows.
    """

    def run(batch: Batch) -> Batch:
        for step in steps:
            num_rows = len(next(iter(batch.values()), []))
            result = _apply(step, batch)
            num_left = len(next(iter(result.values()), []))
            if num_left == 0:
                return {}
            counts = {n: column for n, column in batch.items() if n.startswith((LOST, OF))}
            ids = batch.get(ROW_ID)
            if ids is not None and result.get(ROW_ID, ids) != ids:
                result = {**_by_row(counts, ids, result[ROW_ID]), **result}
            elif num_left == num_rows:
                own = {} if ids is None else {ROW_ID: ids}
                result = {**own, **counts, **result}
            batch = result
        return batch

    return run


def _by_row(counts: Batch, ids: Sequence[int], new_ids: Sequence[int]) -> Batch:
    """The counts of rows with `ids` for examples with `new_ids`; the first example of a row has
    all of its counts.

    >>> _by_row({"lost:a": [1, 0, 1]}, [4, 5, 6], [4, 6, 6])
    {'lost:a': [1, 1, 0]}
    """
    sums: dict[str, dict[int, int]] = {name: {} for name in counts}
    for name, column in counts.items():
        for row, count in zip(ids, column, strict=True):
            sums[name][row] = sums[name].get(row, 0) + count
    return {name: [of_row.pop(row, 0) for row in new_ids] for name, of_row in sums.items()}


# ------------------------------------------------------------------ steps shared by many tasks


@map_over_dataset
def rekey(example: Example, *, key_map: Mapping[str, str | None]) -> Example:
    """The example with its columns renamed to the keys of `key_map`.

    >>> rekey.example_function({"document": "a", "label": 1}, key_map={"text": "document"})
    {'text': 'a'}
    >>> rekey.example_function({"document": "a"}, key_map={"text": "document", "title": None})
    {'text': 'a', 'title': ''}
    """
    require_columns([old for old in key_map.values() if old], example, whose="rekey")
    return {new: example[old] if old else "" for new, old in key_map.items()}


def length_limit(sequence_length: Mapping[str, int] | None, key: str, tokenizer: Any) -> int:
    """The max length of `inputs` or `targets`: the requested one, limited by the tokenizer's
    `model_max_length` (a number of 30 digits if it has no limit)."""
    requested = (sequence_length or {}).get(key) or 512
    return min(requested, tokenizer.model_max_length)


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
    """Adds the column `into`: the token ids of `source` (and `pair` as a second segment) with
    special tokens, truncated to `sequence_length[limit or source]`; truncated rows are counted.

    With a pair, a tokenizer that makes segment ids adds `token_type_ids`.
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
    """A column of texts; a UserError for any other value, such as an empty cell of a CSV file."""
    require_columns([name], batch, whose="tokenize")
    for place, value in enumerate(batch[name]):
        if not isinstance(value, str):
            raise UserError(
                f"column {name!r} contains {value!r:.40}, expected text",
                f"row {batch[ROW_ID][place] if ROW_ID in batch else place}",
                "fill the cell or drop the row",
                Exit.DATA,
            )
    return batch[name]


def check_room(tokenizer: Any, max_length: int, *, pair: bool, num_text: int = 0) -> None:
    """Raises UserError if the special tokens and `num_text` tokens of text exceed `max_length`."""
    num_special = tokenizer.num_special_tokens_to_add(pair=pair)
    if num_special + num_text > max_length:
        problem = "is below" if num_special > max_length else "leaves no room for text beside"
        raise UserError(
            f"max length {max_length} {problem} the tokenizer's {num_special} special tokens",
            "get_dataset.sequence_length",
            "raise it",
        )


def encode(
    tokenizer: Any, texts: Sequence[list[str]], max_length: int
) -> tuple[dict[str, list[list[int]]], list[int]]:
    """Token ids of the texts (or pairs) truncated to `max_length`, and 1 for each truncated row.

    Raises:
        UserError: the tokenizer's special tokens alone exceed `max_length`.
    """
    encoded = _encode_whole(tokenizer, texts)
    too_long = [i for i, ids in enumerate(encoded["input_ids"]) if len(ids) > max_length]
    if too_long:
        long_texts = [[column[i] for i in too_long] for column in texts]
        check_room(tokenizer, max_length, pair=len(texts) == 2)
        cut = tokenizer(*long_texts, truncation=True, max_length=max_length, verbose=False)
        for name, column in encoded.items():
            for place, row in enumerate(too_long):
                column[row] = cut[name][place]
    num_cut = [0] * len(texts[0])
    for row in too_long:
        num_cut[row] = 1
    return encoded, num_cut


def _encode_whole(tokenizer: Any, texts: Sequence[list[str]]) -> dict[str, list[list[int]]]:
    """Token ids of the texts (or pairs); for pairs, segment ids too if the tokenizer makes them.

    Unless a class overrides transformers' methods, its library is called directly: twice as fast,
    without offsets, masks and an object for each row.
    """
    from transformers import PreTrainedTokenizerFast

    own, common = type(tokenizer), PreTrainedTokenizerFast
    names = ("__call__", "_encode_plus", "_switch_to_input_mode")
    if not issubclass(own, common) or any(
        getattr(own, name, None) is not getattr(common, name, None) for name in names
    ):
        return dict(tokenizer(*texts, add_special_tokens=True, verbose=False))
    if not texts[0]:
        return {"input_ids": []}
    tokenizer(*(column[:1] for column in texts), add_special_tokens=True, verbose=False)
    rows = texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(rows, add_special_tokens=True)
    encoded = {"input_ids": [one.ids for one in encodings]}
    if len(texts) == 2 and "token_type_ids" in tokenizer.model_input_names:
        encoded["token_type_ids"] = [one.type_ids for one in encodings]
    return encoded


@map_over_dataset
def trim(
    example: Example,
    *,
    sequence_length: Mapping[str, int],
    key: str = "input_ids",
    limit: str = "inputs",
) -> Example:
    """The example with `key` truncated to `sequence_length[limit]` tokens.

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
    """The example with the end token appended to `key`, replacing the last token of a full one.

    With the end token 1 and a length of 3: [5, 6] -> [5, 6, 1]; [5, 6, 7] -> [5, 6, 1], counted as
    cut once, even after `trim`.
    """
    ids, counts = list(example[key]), {}
    if sequence_length and limit in sequence_length:
        length = sequence_length[limit]
        lost = f"{LOST}{limit} cut at {length} tokens"
        counts[lost] = max(example.get(lost, 0), int(len(ids) >= length))
        ids = ids[: length - 1]
    return {**example, **counts, key: [*ids, output_features[key].tokenizer().eos_token_id]}


def require_columns(names: Sequence[str], batch: Collection[str], *, whose: str) -> None:
    """Raises UserError if a column that `whose` needs is missing."""
    missing = [name for name in names if name not in batch]
    if missing:
        known = ", ".join(sorted(batch))
        known = known if len(known) <= 60 else f"{known[:57]}..."
        raise UserError(
            f"needs the column {missing[0]!r}; the rows have {known}",
            whose,
            f"rename it: HFDataSource(..., rename={{'<name there>': {missing[0]!r}}})",
            Exit.DATA,
        )
