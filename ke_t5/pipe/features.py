"""Features: the columns that a model sees, and the check that examples match them."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from ke_t5.errors import Exit, UserError
from ke_t5.forms import IGNORED


@dataclass(frozen=True)
class Feature:
    """One column of an example that the model sees.

    Attributes:
        tokenizer: a function without arguments that returns the tokenizer of its ids, or None.
        dtype: "int32" or "float32".
        rank: 0 for a number per example, 1 for a sequence, 2 for a sequence of rows of one width.
            For `input_ids`, rank 2 has a row per position with a token of each choice, `IGNORED`
            after the end of a shorter one.
        pad: the value that pads shorter sequences of a batch; None: the tokenizer's pad id.
        num_values: values run from 0 to num_values - 1 (or are `IGNORED`); None: no limit.
        required: False for a column that only some tokenizers produce (`token_type_ids`).
        in_windows: the sequence is a document's concatenated windows, whose lengths are in the
            column `window_lengths`; in a batch they are side by side (see `pipe.windows`).
    """

    tokenizer: Callable[[], Any] | None = None
    dtype: str = "int32"
    rank: int = 1
    pad: int | None = 0
    num_values: int | None = None
    required: bool = True
    in_windows: bool = False

    def pad_value(self) -> int:
        """The value that pads shorter sequences."""
        if self.pad is not None:
            return self.pad
        return self.load_tokenizer().pad_token_id

    def load_tokenizer(self) -> Any:
        """The tokenizer of its ids; raises ValueError if it has none."""
        if self.tokenizer is None:
            raise ValueError("the feature has no tokenizer")
        return self.tokenizer()


def feature_key(feature: Feature) -> tuple:
    """The settings on which examples depend: a hash over the tokenizer (vocabulary, rules, special
    tokens) and the checks of the values. Padding is added later."""
    tokenizer = feature.tokenizer and _hash_tokenizer(feature.tokenizer())
    return tokenizer, feature.dtype, feature.rank, feature.num_values, feature.required


@functools.cache
def _hash_tokenizer(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    text += repr(
        (type(tokenizer).__name__, tokenizer.special_tokens_map, tokenizer.model_max_length)
    )
    return hashlib.sha256(text.encode()).hexdigest()


class Numbers(NamedTuple):
    """A column of integers, or of sequences of integers: concatenated, with their lengths."""

    values: np.ndarray
    lengths: np.ndarray | None

    def to_arrow(self, kind: Any) -> Any:
        """The column as an Arrow array of type `kind`."""
        import pyarrow as pa

        if self.lengths is None:
            return pa.array(self.values).cast(kind)
        values = pa.array(self.values).cast(kind.value_type)
        offsets = np.zeros(len(self.lengths) + 1, dtype=np.int32)
        np.cumsum(self.lengths, out=offsets[1:])
        return pa.ListArray.from_arrays(offsets, values)


def check_batch(
    batch: Mapping[str, list], features: Mapping[str, Feature], kept: Sequence[str], *, where: str
) -> dict[str, Numbers]:
    """The integer columns as `Numbers`, after all columns were checked.

    Raises:
        UserError: a column is missing or a value does not match its feature.
    """
    found = {}
    for name, feature in features.items():
        if name in batch:
            numbers = valid_numbers(batch[name], feature)
            if numbers is None:
                _check_values(batch, name, feature, where=where)
            else:
                found[name] = numbers
        elif feature.required:
            raise _missing(name, batch, where)
    for name in kept:
        if name not in batch:
            raise _missing(name, batch, where)
    return found


def _check_values(batch: Mapping[str, list], name: str, feature: Feature, *, where: str) -> None:
    if _are_valid_floats(batch[name], feature):
        return
    for place, value in enumerate(batch[name]):
        problem = _problem(value, feature, batch[name][0])
        if problem:
            row = batch["_id"][place] if "_id" in batch else place
            raise UserError(
                f"column {name!r} {problem}",
                f"{where}, row {row}",
                "fix the preprocessors or the row",
                Exit.DATA,
            )


def _are_valid_floats(values: list, feature: Feature) -> bool:
    """Whether a column is known to contain only floats in range, checked as a whole."""
    if feature.rank > 1 or feature.num_values is not None or feature.dtype.startswith("int"):
        return False
    if feature.rank == 1:
        if not set(map(type, values)) <= {list} or not all(values):
            return False
        values = list(itertools.chain.from_iterable(values))
    if not set(map(type, values)) <= {float}:
        return False
    numbers, limits = np.array(values), np.finfo(cast(Any, feature.dtype))
    return not ((numbers < limits.min) | (numbers > limits.max)).any()


def valid_numbers(values: list, feature: Feature) -> Numbers | None:
    """A column that is known to contain only integers in range, checked as a whole; None if its
    values have to be checked one by one."""
    lengths = None
    if feature.rank == 1:
        if not set(map(type, values)) <= {list}:
            return None
        lengths = np.fromiter(map(len, values), dtype=np.int32, count=len(values))
        if not lengths.all():
            return None
        values = list(itertools.chain.from_iterable(values))
    if feature.rank > 1 or not set(map(type, values)) <= {int}:
        return None
    try:
        numbers = np.array(values, dtype=np.int64)
    except OverflowError:
        return None
    if len(numbers):
        low, high = numbers.min(), numbers.max()
        if feature.dtype.startswith("int"):
            fitting = np.iinfo(cast(Any, feature.dtype))
            if low < fitting.min or high > fitting.max:
                return None
        limit = feature.num_values
        if limit is not None and low < 0:
            low = numbers[numbers != IGNORED].min(initial=0)
        if limit is not None and (low < 0 or high >= limit):
            return None
    return Numbers(numbers, lengths)


def _missing(name: str, batch: Mapping[str, list], where: str) -> UserError:
    return UserError(
        f"the preprocessors return no column {name!r}, only {', '.join(sorted(batch))}",
        where,
        "return it from one of them",
        Exit.DATA,
    )


def _problem(value: Any, feature: Feature, first: Any) -> str | None:
    """What is wrong with one value, given the first of its batch; None if it is valid."""
    is_list = isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) > 0
    if is_list != (feature.rank > 0):
        expected = "a sequence" if feature.rank else "one number"
        return f"contains {value!r:.40}, expected {expected}"
    is_whole = feature.dtype.startswith("int")
    try:
        numbers = np.array(value)
    except ValueError:  # rows of different widths
        return f"contains {value!r:.40}, expected {_expected(feature)}"
    if numbers.size == 0:
        return "is an empty sequence"
    if numbers.ndim != feature.rank or numbers.dtype.kind not in ("biu" if is_whole else "biuf"):
        return f"contains {value!r:.40}, expected {_expected(feature)}"
    if feature.rank == 2 and numbers.shape[1] != len(first[0]):
        return f"contains rows of {numbers.shape[1]}, expected {len(first[0])} as in other examples"
    return _outside(numbers, feature)


def _expected(feature: Feature) -> str:
    return "rows of one width" if feature.rank == 2 else feature.dtype


def _outside(numbers: np.ndarray, feature: Feature) -> str | None:
    """What is wrong with a number outside the feature's range; None if there is none."""
    dtype: Any = feature.dtype
    limits: Any = np.iinfo(dtype) if dtype.startswith("int") else np.finfo(dtype)
    outside = numbers[(numbers < limits.min) | (numbers > limits.max)]
    if outside.size:
        number = outside[0].item()
        is_infinite = math.isinf(number)
        return (
            "contains an infinite number" if is_infinite else f"contains {number}, expected {dtype}"
        )
    if feature.num_values is None:
        return None
    is_label = (numbers >= 0) & (numbers < feature.num_values) | (numbers == IGNORED)
    if is_label.all():
        return None
    return f"contains {numbers[~is_label][0].item()}, expected 0 to {feature.num_values - 1}"
