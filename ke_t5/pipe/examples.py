"""Examples: preprocessed rows on disk, with the model's columns as arrays for fast batches.

The statistics of a split are computed once and kept beside the examples (`Counts`), so that later
starts read no rows.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ke_t5.errors import Exit, UserError
from ke_t5.forms import IGNORED
from ke_t5.pipe.columns import Column, RowNumbers
from ke_t5.pipe.features import Feature
from ke_t5.pipe.lazy_examples import LazyColumns, LazyExample
from ke_t5.pipe.preprocessors import LOST, OF, Example
from ke_t5.pipe.rows import ROW_ID
from ke_t5.pipe.windows import side_by_side

if TYPE_CHECKING:
    import datasets


_NO_CHOICES = Feature()
# Columns with larger ids are not counted: the counts would take more memory than the rows.
MOST_COUNTED = 1 << 20


@dataclasses.dataclass(frozen=True)
class Counts:
    """Statistics of a whole split.

    Attributes:
        content: see `Examples.content_hash`.
        lengths: column -> the sum and the maximum of its lengths.
        labelled: column -> the number of examples with a label in it.
        lost: column of lost counts -> its sum.
        values: column of tokens or labels -> the number of times that each id occurs.
    """

    content: str
    lengths: Mapping[str, tuple[int, int]]
    labelled: Mapping[str, int]
    lost: Mapping[str, int]
    values: Mapping[str, np.ndarray]


class Examples:
    """Some examples of a data set, in order.

    Args:
        dataset: all examples of one split, on disk, in the order of their `_id`.
        features: the model's columns.
        ids: the `_id`s of the rows in this slice; None: all.
        id_offset: added to every `_id`, for sums of splits.
        key: a hash over all that they depend on.
        columns: the model's columns over the whole data set, if they are stored in files.
        own_ids: the `_id`s of the whole data set, likewise.
        places: the places of these examples in the data set, if they are known.

    Attributes:
        counts: the statistics of these examples; None for a part of a split.
        owners: (first place, task) of each member of a mixture.
    """

    owners: tuple[tuple[int, str], ...] = ()
    counts: Counts | None = None

    def __init__(
        self,
        dataset: datasets.Dataset,
        features: Mapping[str, Feature],
        *,
        ids: Sequence[int] | np.ndarray | None = None,
        id_offset: int = 0,
        key: str = "",
        columns: dict[str, Column] | None = None,
        own_ids: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> None:
        self.dataset, self.features, self.key = dataset, features, key
        self.has_kept = True
        if columns is not None:
            self.columns = columns
        own: np.ndarray = dataset.data.column(ROW_ID).to_numpy() if own_ids is None else own_ids
        if places is not None:
            self.places = places
        elif ids is None:
            self.places = np.arange(len(dataset))
        elif isinstance(ids, range):
            self.places = np.flatnonzero((own >= ids.start) & (own < ids.stop))
        else:
            self.places = np.flatnonzero(np.isin(own, ids))
        self._own_ids, self._id_offset = own, id_offset

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
        ids = [one._own_ids.astype(np.int64) + one._id_offset for one in slices]
        joined._own_ids = np.concatenate(ids)
        joined.has_kept = all(one.has_kept for one in slices)
        return joined

    def __len__(self) -> int:
        return len(self.places)

    def take(self, positions: np.ndarray) -> Examples:
        """The examples at these positions, or where a mask is True."""
        subset = object.__new__(Examples)
        subset.__dict__.update(self.__dict__)
        subset.places = self.places[positions]
        subset.counts = None
        return subset

    def _places_of(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        return self.places[np.asarray(positions, dtype=np.int64)].astype(np.int64)

    def _ids_at(self, places: np.ndarray) -> np.ndarray:
        return self._own_ids[places].astype(np.int64) + self._id_offset

    def without_kept(self) -> Examples:
        """The same examples with only the model's columns and `_id`."""
        bare = object.__new__(Examples)
        bare.__dict__.update(self.__dict__)
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
        return self._ids_at(self.places)

    def row_names(self, positions: Sequence[int] | np.ndarray) -> list[str]:
        """`_id` of each of these examples, in a mixture preceded by its task, for messages."""
        places = self._places_of(positions)
        names = [str(row) for row in self._ids_at(places).tolist()]
        if not self.owners:
            return names
        starts, tasks = zip(*self.owners, strict=True)
        owners = np.searchsorted(starts, places, side="right") - 1
        return [f"{tasks[i]} {name}" for i, name in zip(owners, names, strict=True)]

    def lengths(self, name: str) -> np.ndarray:
        """The length in tokens of each example's column `name`, for choices with padding; ones if
        there is no such column."""
        return np.asarray(self.row_lengths(name))

    def row_lengths(self, name: str) -> RowNumbers:
        """The numbers of `lengths`, read on demand."""
        column = self.columns.get(name)
        if column is None:
            return RowNumbers(_ones, self.places)
        width = column.width
        return RowNumbers(lambda places: column.lengths_at(places) * width, self.places)

    def length_facts(self, name: str) -> tuple[int, int]:
        """The sum and the maximum of `lengths`."""
        if self.counts is not None and name in self.counts.lengths:
            return self.counts.lengths[name]
        sums = [(int(block.sum()), int(block.max())) for block in self.row_lengths(name).blocks()]
        return sum(one for one, _ in sums), max((most for _, most in sums), default=0)

    def counted(self, name: str = "labels") -> np.ndarray:
        """The number of labels of each example that count for the loss."""
        return np.asarray(self.row_counts(name))

    def row_counts(self, name: str = "labels", *, most: int | None = None) -> RowNumbers:
        """The numbers of `counted`, read on demand and limited to `most`."""
        column = self.columns.get(name)
        if column is None:
            return RowNumbers(_ones, self.places)
        if most is None:
            return RowNumbers(column.counted_at, self.places)
        return RowNumbers(lambda places: np.minimum(column.counted_at(places), most), self.places)

    def first_labelled(self) -> int:
        """The position of the first example with a label that counts; 0 if there is none."""
        start = 0
        for block in self.row_counts().blocks():
            if block.any():
                return start + int(np.argmax(block > 0))
            start += len(block)
        return 0

    def value_counts(self, name: str) -> np.ndarray:
        """The number of times that each id, from 0 on, occurs in a column of ids."""
        if self.counts is not None and name in self.counts.values:
            return self.counts.values[name]
        counts = np.zeros(0, dtype=np.int64)
        for ids in self.columns[name].parts(self.places):
            more = np.bincount(ids[ids >= 0], minlength=len(counts))
            more[: len(counts)] += counts
            counts = more
        return counts

    def some_rows(self, num_rows: int) -> Examples:
        """The examples of at most `num_rows` rows with all their windows, spread evenly over the
        split, because its first rows may all be alike."""
        rows = np.unique(self.ids)
        count = min(num_rows, len(rows))
        indices = np.linspace(0, len(rows), count, endpoint=False, dtype=np.int64)
        return self.take(np.isin(self.ids, rows[indices]))

    def labelled(self) -> Examples:
        """The examples with a label.

        Raises:
            UserError: there are none.
        """
        name = "labels" if "labels" in self.columns else "start_positions"
        if self.counts is not None and self.counts.labelled.get(name) == len(self) > 0:
            return self
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
        """The model's columns at these positions, padded to the longest, and `attention_mask`."""
        places = self._places_of(positions)
        if self.features.get("input_ids", _NO_CHOICES).rank == 2:
            return self._batch_of_choices(places)
        side = self.padding_side()
        batch = {
            name: column.batch(places, self.features[name].pad_value(), side=side)
            for name, column in self.columns.items()
        }
        if "input_ids" in batch and self.columns["input_ids"].offsets is not None:
            lengths = self.columns["input_ids"].lengths_at(places)
            width = batch["input_ids"].shape[1]
            mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
            batch["attention_mask"] = mask[:, ::-1] if side == "left" else mask
        pads = {
            name: feature.pad_value()
            for name, feature in self.features.items()
            if feature.in_windows and name in batch
        }
        return side_by_side(batch, pads) if pads else batch

    def _batch_of_choices(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """The columns at these places; token columns as [rows, choices, tokens]."""
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

    def padding_side(self) -> str:
        """The tokenizer's padding side; "right" if a label is a position."""
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
        """An example with all its columns; without the kept ones if they were dropped."""
        return self.examples([position])[0]

    def examples(self, positions: Sequence[int] | np.ndarray) -> list[Example]:
        """The examples at these positions, as returned by `example`."""
        places = self._places_of(positions)
        columns = {**self.dataset[places], ROW_ID: self._ids_at(places).tolist()}
        columns = {name: column for name, column in columns.items() if self.has_column(name)}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def lazy_examples(self, positions: Sequence[int] | np.ndarray) -> list[Mapping[str, Any]]:
        """The examples at these positions, whose columns are read on demand."""
        places = self._places_of(positions)
        columns = LazyColumns(self, places)
        return [LazyExample(columns, row) for row in range(len(places))]

    def has_column(self, name: str) -> bool:
        """Whether the examples have this column."""
        is_there = name == ROW_ID or name in self.dataset.column_names
        return is_there and (self.has_kept or name in self.features or name == ROW_ID)

    def content_hash(self) -> str:
        """A hash over the data set's model columns and the places of these examples in order."""
        if self.counts is not None:
            return self.counts.content
        digest = hashlib.blake2b(digest_size=16)
        for places in RowNumbers(np.asarray, self.places).blocks():
            digest.update(places.data)
        for name, column in sorted(self.columns.items()):
            digest.update(name.encode())
            for array in itertools.chain(column.blocks(), [column.offsets]):
                if array is not None:
                    digest.update(np.ascontiguousarray(array).reshape(-1).data)
        return digest.hexdigest()

    def count(self) -> Counts:
        """The statistics of these examples, all of which are read."""
        names = self.columns
        labels = [name for name in ("labels", "start_positions") if name in names]
        ids = [name for name in names if self._are_ids(name)]
        return Counts(
            content=self.content_hash(),
            lengths={name: self.length_facts(name) for name in names},
            labelled={
                name: sum(int((block > 0).sum()) for block in self.row_counts(name).blocks())
                for name in labels
            },
            lost={
                name: self._sum(name)
                for name in self.dataset.column_names
                if name.startswith((LOST, OF))
            },
            values={name: self.value_counts(name) for name in ids},
        )

    def _are_ids(self, name: str) -> bool:
        """Whether a column contains ids of tokens or labels that can be counted."""
        column, feature = self.columns[name], self.features[name]
        if column.dtype.kind != "i" or not (feature.tokenizer or name == "labels"):
            return False
        return all(block.max(initial=0) < MOST_COUNTED for block in column.blocks())

    def lost(self) -> dict[str, tuple[int, int]]:
        """Losses in preprocessing these examples: what was lost -> (how many, of how many)."""
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
        if self.counts is not None and name in self.counts.lost:
            return self.counts.lost[name]
        return int(self.dataset.data.column(name).to_numpy()[self.places].sum())


def _ones(places: np.ndarray) -> np.ndarray:
    return np.ones(len(places), dtype=np.int64)
