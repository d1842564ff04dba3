"""Examples: preprocessed rows on disk, with the model's columns as arrays for fast batches."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ke_t5.errors import Exit, UserError
from ke_t5.forms import IGNORED
from ke_t5.pipe.columns import Column
from ke_t5.pipe.features import Feature
from ke_t5.pipe.preprocessors import LOST, OF, Example
from ke_t5.pipe.rows import ROW_ID

if TYPE_CHECKING:
    import datasets


_NO_CHOICES = Feature()


class Examples:
    """Some examples of a data set, in order.

    Args:
        dataset: all examples of one split, on disk, in the order of their `_id`.
        features: the model's columns.
        ids: which rows (by `_id`) belong to this slice; None: all.
        id_offset: added to every `_id`, for sums of splits.
        key: a hash over all that they depend on.

    Attributes:
        owners: of a mixture's examples, (first place, task) of each member.
    """

    owners: tuple[tuple[int, str], ...] = ()

    def __init__(
        self,
        dataset: datasets.Dataset,
        features: Mapping[str, Feature],
        *,
        ids: Sequence[int] | np.ndarray | None = None,
        id_offset: int = 0,
        key: str = "",
    ) -> None:
        self.dataset, self.features, self.key = dataset, features, key
        self.has_kept = True
        own_ids = dataset.data.column(ROW_ID).to_numpy()
        if ids is None:
            self.places = np.arange(len(dataset))
        elif isinstance(ids, range):
            self.places = np.flatnonzero((own_ids >= ids.start) & (own_ids < ids.stop))
        else:
            self.places = np.flatnonzero(np.isin(own_ids, np.asarray(ids, dtype=np.int64)))
        self._ids = own_ids + id_offset if id_offset else own_ids

    @classmethod
    def empty(cls, features: Mapping[str, Feature]) -> Examples:
        """No examples."""
        import datasets

        empty = {ROW_ID: np.zeros(0, dtype=np.int64)}
        return cls(datasets.Dataset.from_dict(empty), features)

    @classmethod
    def concatenate(cls, slices: Sequence[Examples]) -> Examples:
        """The examples of several slices, one after the other."""
        import datasets

        slices = [one for one in slices if len(one)] or list(slices[:1])
        joined = cls(
            datasets.concatenate_datasets([one.dataset for one in slices]),
            slices[0].features,
            key="+".join(one.key for one in slices),
        )
        starts = np.cumsum([0, *(len(one.dataset) for one in slices)])
        joined.places = np.concatenate(
            [one.places + start for one, start in zip(slices, starts, strict=False)]
        )
        joined._ids = np.concatenate([one._ids for one in slices])
        joined.has_kept = all(one.has_kept for one in slices)
        return joined

    def __len__(self) -> int:
        return len(self.places)

    def take(self, positions: np.ndarray) -> Examples:
        """The examples at these positions, or those for which a mask is true."""
        subset = object.__new__(Examples)
        subset.__dict__.update(self.__dict__)
        subset.places = self.places[positions]
        return subset

    def without_kept(self) -> Examples:
        """The same examples with only the model's columns and `_id`."""
        bare = self.take(np.arange(len(self)))
        bare.has_kept = False
        return bare

    @functools.cached_property
    def columns(self) -> dict[str, Column]:
        """The model's columns over the whole data set (indexed by places, not positions)."""
        names = [name for name in self.features if name in self.dataset.column_names]
        return {name: Column.from_arrow(self.dataset.data.column(name)) for name in names}

    @property
    def ids(self) -> np.ndarray:
        """`_id` of each example; windows of one row share it."""
        return self._ids[self.places]

    def row_names(self, positions: Sequence[int] | np.ndarray) -> list[str]:
        """`_id` of each of these examples, in a mixture preceded by its task, for messages."""
        places = self.places[np.asarray(positions, dtype=np.int64)]
        names = [str(row) for row in self._ids[places].tolist()]
        if not self.owners:
            return names
        starts, tasks = zip(*self.owners, strict=True)
        owners = np.searchsorted(starts, places, side="right") - 1
        return [f"{tasks[i]} {name}" for i, name in zip(owners, names, strict=True)]

    def lengths(self, name: str) -> np.ndarray:
        """Length in tokens of each example's `name`, of choices with their padding; ones if there
        is no such column."""
        if name not in self.columns:
            return np.ones(len(self), dtype=np.int64)
        column = self.columns[name]
        return column.lengths()[self.places] * column.width

    def counted(self, name: str = "labels") -> np.ndarray:
        """Per example, the number of labels that count for the loss."""
        if name not in self.columns:
            return np.ones(len(self), dtype=np.int64)
        return self.columns[name].counted()[self.places]

    def some_rows(self, num_rows: int) -> Examples:
        """The examples of at most `num_rows` rows, with all windows of each, evenly spread over the
        split, whose first rows may be all alike."""
        rows = np.unique(self.ids)
        count = min(num_rows, len(rows))
        indices = np.linspace(0, len(rows), count, endpoint=False, dtype=np.int64)
        return self.take(np.isin(self.ids, rows[indices]))

    def labelled(self) -> Examples:
        """The examples that have a label.

        Raises:
            UserError: there are none.
        """
        name = "labels" if "labels" in self.columns else "start_positions"
        has_label = self.counted(name) > 0
        if not has_label.any():
            raise UserError(
                f"none of the {len(self)} examples has a label to learn from",
                "--train_split",
                "choose a split with labels",
                Exit.DATA,
            )
        return self.take(has_label)

    def batch(self, positions: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The model's columns at these positions, padded to the longest, with `attention_mask`."""
        places = self.places[np.asarray(positions, dtype=np.int64)]
        if self.features.get("input_ids", _NO_CHOICES).rank == 2:
            return self._batch_of_choices(places)
        side = self._padding_side()
        batch = {
            name: column.batch(places, self.features[name].pad_value(), side=side)
            for name, column in self.columns.items()
        }
        if "input_ids" in batch and self.columns["input_ids"].offsets is not None:
            lengths = self.columns["input_ids"].lengths()[places]
            width = batch["input_ids"].shape[1]
            mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
            batch["attention_mask"] = mask[:, ::-1] if side == "left" else mask
        return batch

    def _batch_of_choices(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """The columns at these places, those of tokens as [rows, choices, tokens]."""
        batch = {}
        for name, column in self.columns.items():
            feature = self.features[name]
            pad = IGNORED if name == "input_ids" else feature.pad_value()
            values = column.batch(places, pad)
            batch[name] = np.swapaxes(values, 1, 2) if feature.rank == 2 else values
        is_token = batch["input_ids"] != IGNORED
        pad = self.features["input_ids"].pad_value()
        batch["input_ids"] = np.where(is_token, batch["input_ids"], pad)
        return {**batch, "attention_mask": is_token.astype(np.int64)}

    def _padding_side(self) -> str:
        """The tokenizer's side for texts; "right" if a label is a position."""
        only_texts = all(
            column.offsets is None
            or name in ("input_ids", "token_type_ids")
            or self.features[name].dtype.startswith("float")  # a number for each label
            for name, column in self.columns.items()
        )
        feature = self.features.get("input_ids")
        if not only_texts or feature is None or feature.tokenizer is None:
            return "right"
        if "start_positions" in self.columns:
            return "right"
        return getattr(feature.tokenizer(), "padding_side", "right")

    def example(self, position: int) -> Example:
        """One example with all its columns, including the kept ones unless they were dropped."""
        return self.examples([position])[0]

    def examples(self, positions: Sequence[int] | np.ndarray) -> list[Example]:
        """The examples at these positions, as `example` gives them."""
        places = self.places[np.asarray(positions, dtype=np.int64)]
        columns = {**self.dataset[places], ROW_ID: self._ids[places].tolist()}
        columns = {name: column for name, column in columns.items() if self.has_column(name)}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def lazy_examples(self, positions: Sequence[int] | np.ndarray) -> list[Mapping[str, Any]]:
        """The same, each column of them read when it is asked for."""
        places = self.places[np.asarray(positions, dtype=np.int64)]
        columns = _LazyColumns(self, places)
        return [_LazyExample(columns, row) for row in range(len(places))]

    def has_column(self, name: str) -> bool:
        """Whether the examples have this column."""
        is_there = name == ROW_ID or name in self.dataset.column_names
        return is_there and (self.has_kept or name in self.features or name == ROW_ID)

    def content_hash(self) -> str:
        """A hash over the model's columns of the data set and over the places of these examples, in
        their order."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.places).data, digest_size=16)
        for name, column in sorted(self.columns.items()):
            digest.update(name.encode())
            for array in (*column.chunks, column.offsets):
                if array is not None:
                    digest.update(np.ascontiguousarray(array).reshape(-1).data)
        return digest.hexdigest()

    def lost(self) -> dict[str, tuple[int, int]]:
        """What preprocessing lost of these examples: what -> (how many, of how many)."""
        counts = {}
        for name in self.dataset.column_names:
            if name.startswith(LOST):
                what = name.removeprefix(LOST)
                count = self._sum(name)
                total = (
                    self._sum(OF + what) if OF + what in self.dataset.column_names else len(self)
                )
                if count:
                    counts[what] = (count, total)
        return counts

    def _sum(self, name: str) -> int:
        return int(self.dataset.data.column(name).to_numpy()[self.places].sum())


class _LazyColumns(dict[str, list]):
    """The columns of some examples that have been asked for."""

    def __init__(self, examples: Examples, places: np.ndarray) -> None:
        super().__init__()
        self.examples, self.places = examples, places

    def __missing__(self, name: str) -> list:
        if name == ROW_ID:
            self[name] = self.examples._ids[self.places].tolist()
        elif self.examples.has_column(name):
            self[name] = self.examples.dataset.select_columns([name])[self.places][name]
        else:
            raise KeyError(name)
        return self[name]


class _LazyExample(Mapping[str, Any]):
    """An example; see `Examples.lazy_examples`."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: _LazyColumns, row: int) -> None:
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._row]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._columns.examples.has_column(name)

    def __iter__(self) -> Iterator[str]:
        examples = self._columns.examples
        return iter([name for name in examples.dataset.column_names if examples.has_column(name)])

    def __len__(self) -> int:
        return len(list(iter(self)))
