"""Hashes of rows, to find the same text in different files."""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ke_t5.pipe import Examples, Task
from ke_t5.pipe.cache import build_once, make_key, package_version
from ke_t5.pipe.code import hash_code
from ke_t5.pipe.column_files import open_array

_NUM_AT_A_TIME = 20_000
# Odd, so that multiplication modulo 2**64 is reversible: combines text and label in one number.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
EXACT, FOLDED, LABEL = range(3)


@dataclass(frozen=True)
class Overlap:
    """How many rows of a split have a text that another split has too.

    Attributes:
        num_rows: rows of the split.
        num_folded: rows with the same text, ignoring white space and composition (NFC).
        num_exact: rows with exactly the same text.
        num_copied: rows with exactly the same text and the same label.
        num_relabelled: rows with the same text whose label it does not have in the other split.
    """

    num_rows: int
    num_folded: int
    num_exact: int
    num_copied: int
    num_relabelled: int


@dataclass(frozen=True)
class RowHashes:
    """The hashes of a split's rows.

    Attributes:
        rows: see `row_hashes`; `unique`: the same, sorted and without duplicates.
        key: cache key; "" if they are not stored.
    """

    rows: np.ndarray
    unique: np.ndarray
    key: str = ""


def stored_row_hashes(task: Task, examples: Examples, cache: Path) -> RowHashes:
    """The hashes of these rows; cached in files below `cache` if they are a whole split."""
    key = "" if examples.counts is None else _key(task, examples)
    if not key:
        hashes = row_hashes(task, examples)
        return RowHashes(hashes, np.unique(hashes, axis=0))

    def build(temporary: Path) -> dict[str, int]:
        hashes = row_hashes(task, examples)
        np.save(temporary / "rows.npy", hashes)
        np.save(temporary / "unique.npy", np.unique(hashes, axis=0))
        return {"rows": len(hashes)}

    folder = cache / "row_hashes" / key
    build_once(folder, build)
    return RowHashes(open_array(folder / "rows.npy"), open_array(folder / "unique.npy"), key)


def _key(task: Task, examples: Examples) -> str:
    own = hash_code([Path(__file__)])
    names = [name for name in examples.dataset.column_names if examples.has_column(name)]
    content = [examples.key, examples.content_hash(), names]
    try:
        return make_key([package_version(), own, content, task.inputs, dict(task.keep)])
    except ValueError:  # `inputs` has no stable key
        return ""


def stored_overlap(rows: RowHashes, others: RowHashes, cache: Path) -> Overlap:
    """Like `overlap`, but cached if both hashes are stored."""
    if not (rows.key and others.key):
        return overlap(rows.rows, others.unique)

    def build(_: Path) -> dict[str, int]:
        return dataclasses.asdict(overlap(rows.rows, others.unique))

    key = make_key([rows.key, others.key, hash_code([Path(__file__)])])
    return Overlap(**build_once(cache / "overlaps" / key, build))


def row_hashes(task: Task, examples: Examples) -> np.ndarray:
    """[rows, 3]: hashes of each row's text, exact and folded, and of its label (0: none)."""
    _, first = np.unique(examples.ids, return_index=True)  # windows of one row share its id
    examples = examples.take(np.sort(first))
    hashes = np.zeros((len(examples), 3), dtype=np.uint64)
    texts = itertools.chain.from_iterable(_text_hashes(task, examples))
    hashes[:, :2] = np.fromiter(texts, np.uint64).reshape(-1, 2)
    hashes[:, LABEL] = np.fromiter(_label_hashes(task, examples), np.uint64)
    return hashes


def overlap(rows: np.ndarray, others: np.ndarray) -> Overlap:
    """Counts these rows whose text is that of one of the others."""
    is_exact = np.isin(rows[:, EXACT], others[:, EXACT])
    is_folded = is_exact | np.isin(rows[:, FOLDED], others[:, FOLDED])
    labelled, is_labelled = others[others[:, LABEL] != 0], rows[:, LABEL] != 0
    has_label = is_labelled & np.isin(rows[:, FOLDED], labelled[:, FOLDED])
    is_same, is_copied = (
        np.isin(_with_label(rows, text), _with_label(labelled, text)) for text in (FOLDED, EXACT)
    )
    masks = (is_folded, is_exact, is_labelled & is_copied, has_label & ~is_same)
    return Overlap(len(rows), *(int(one.sum()) for one in masks))


def _with_label(rows: np.ndarray, text: int) -> np.ndarray:
    return rows[:, text] * _FACTOR + rows[:, LABEL]


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _text_hashes(task: Task, examples: Examples) -> Iterator[tuple[int, int]]:
    for text in row_texts(task, examples):
        exact = _hash(text.encode("utf-8", "surrogatepass"))
        folded = " ".join(unicodedata.normalize("NFC", text).split())
        same = folded == text
        yield exact, exact if same else _hash(folded.encode("utf-8", "surrogatepass"))


def row_texts(task: Task, examples: Examples) -> Iterator[str]:
    """Yields each row's readable text, or its token ids if the task keeps no text."""
    column_names = set(examples.dataset.column_names)
    names = [name for name, kind in task.keep.items() if kind in ("string", ["string"])]
    # Gold answers may be long lists, and most tasks' texts do not need them.
    texts = [name for name in names if not name.startswith("gold")]
    if task.inputs is not None and texts and set(texts) <= column_names:
        table = examples.dataset.select_columns(texts)
        for start in range(0, len(examples), _NUM_AT_A_TIME):
            columns = table[examples.places[start : start + _NUM_AT_A_TIME]]
            for row in zip(*columns.values(), strict=True):
                yield task.inputs(dict(zip(columns, row, strict=True)))
        return
    for ids in examples.columns["input_ids"].bytes_at(examples.places):
        yield ids.hex()


def _label_hashes(task: Task, examples: Examples) -> Iterator[int]:
    """Hashes of the model's labels, or of the gold answers if labels are token positions."""
    names = [name for name in examples.columns if name == "labels" or name.endswith("_labels")]
    if not names:
        yield from _gold_hashes(task, examples)
        return
    is_labelled = examples.counted() > 0
    columns = [examples.columns[name].bytes_at(examples.places) for name in names]
    for counts, *values in zip(is_labelled, *columns, strict=True):
        yield (_hash(b"|".join(values)) or 1) if counts else 0


def _gold_hashes(task: Task, examples: Examples) -> Iterator[int]:
    if "gold" not in examples.dataset.column_names:
        yield from (0 for _ in range(len(examples)))
        return
    table = examples.dataset.select_columns(["gold"])
    for start in range(0, len(examples), _NUM_AT_A_TIME):
        for gold in table[examples.places[start : start + _NUM_AT_A_TIME]]["gold"]:
            yield 0 if gold is None else _hash(repr(gold).encode("utf-8", "surrogatepass")) or 1
