"""The user's own files as a data source, and the labels found in them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from ke_t5.errors import Exit, UserError, counted, suggestion
from ke_t5.own_data.columns import flag_of
from ke_t5.own_data.rows import LINE, files_of, own_rows, row_columns, stored_place
from ke_t5.own_data.spec import OwnData
from ke_t5.own_data.tagged import found_joint
from ke_t5.pipe.cache import Folders, hash_files, make_key, package_version
from ke_t5.pipe.rows import Rows, stored_rows
from ke_t5.pipe.sources import DataSource, unknown_split
from ke_t5.readers.encodings import report_once
from ke_t5.readers.streams import fault

logger = logging.getLogger(__name__)

FLAGS = {"train": "--train_file", "validation": "--valid_file", "test": "--test_file"}
# More labels than MOST_LABELS are not classes; nor are more than FEW_LABELS if there are fewer than
# two rows for each.
MOST_LABELS, FEW_LABELS = 1000, 20
_SHOWN = 8


class OwnFiles(DataSource):
    """The rows of the user's own files. If one file is split, equal texts stay in the same split.

    Attributes:
        own_data: the files with their columns and labels.
    """

    def __init__(self, own: OwnData, name: str) -> None:
        self.own_data, self.name = own, name
        self.group = "context" if own.kind == "reading" else "text"

    def splits(self, folders: Folders) -> list[str]:
        if not self.own_data.files:
            fix = "add --train_file FILE or --test_file FILE"
            raise UserError("it needs a file of your own data", f"--task {self.name}", fix)
        return list(self.own_data.files)

    def rows(self, split: str, folders: Folders) -> Rows:
        if split not in self.splits(folders):
            raise unknown_split(split, self.name, self.own_data.files)
        own = self.own_data.for_split(split)
        path = Path(own.files[split])
        paths = files_of(own.kind, path)
        hashes = hash_files(paths)
        settings = [own.kind, own.columns, own.encoding, own.sheet, own.separator, own.skip_empty]
        settings += [list(own.choices), own.joint]
        key = make_key([package_version(), split == "test", settings, path.suffix, *hashes])
        folder = folders.cache / "rows" / "own" / f"{split}-{key}"
        columns = row_columns(own)
        notes: list[str] = []
        rows = stored_rows(
            folder, columns, lambda: own_rows(own, path, split, notes.append), origin=path.name,
            notes=notes,
        )  # fmt: skip
        for note in rows.notes:
            report_once(f"{path}: {note}")
        if not len(rows.dataset):
            raise fault(path, "no rows", "write rows into it")
        if own.labels:
            check_labels(own, rows, split)
        return replace(rows, provenance={"files": dict(zip(map(str, paths), hashes, strict=True))})


def check_labels(own: OwnData, rows: Rows, split: str) -> None:
    """Raises UserError for the first label of a split that is not in the training file."""
    known = set(own.labels)
    unknown = [label for label in label_counts(own, rows) if label not in known]
    if not unknown:
        return
    label, line = _first_unknown(own, rows, known)
    others = f" (and {len(unknown) - 1} more such labels)" if len(unknown) > 1 else ""
    what = f"label {label!r:.60} is not in the training data{others}"
    where = stored_place(own.for_split(split), Path(own.files[split]), line)
    raise UserError(what, where, _known_label(label, own.labels), Exit.DATA)


def _first_unknown(own: OwnData, rows: Rows, known: Collection[str]) -> tuple[str, int]:
    """The first label of the rows that is not known, and its line; there must be one."""
    column = rows.dataset.data.column("tags" if own.kind == "tagging" else "label")
    return next(
        (label, line.as_py())
        for value, line in zip(column, rows.dataset.data.column(LINE), strict=True)
        for label in _labels_of(own, value.as_py())
        if label not in known
    )


def _known_label(label: str, known: Sequence[str]) -> str:
    """The suggested fix for an unknown label. pandas writes 1 as 1.0 if another row has none."""
    alike = label.removesuffix(".0") if label.endswith(".0") else f"{label}.0"
    if alike in known:
        return f"write {alike!r}, as the training file does"
    return suggestion(label, known)


def label_counts(own: OwnData, rows: Rows) -> dict[str, int]:
    """Label -> number of rows; for tagging, entity type -> number of entities."""
    import pyarrow.compute

    compute: Any = pyarrow.compute  # its functions are created on import, unknown to type checkers
    column = rows.dataset.data.column("tags" if own.kind == "tagging" else "label")
    if own.kind in ("tagging", "multilabel"):
        column = compute.list_flatten(column)
    counts = compute.value_counts(column).to_pylist()
    found = {one["values"]: one["counts"] for one in counts if one["values"] is not None}
    if own.kind == "tagging":
        return {tag[2:]: count for tag, count in found.items() if tag[0] == "B"}
    return found


def _labels_of(own: OwnData, value: Any) -> Sequence[str]:
    """The labels in the value of a row."""
    if own.kind == "tagging":
        return [tag[2:] for tag in value or () if tag[0] == "B"]
    return [] if value is None else value if isinstance(value, list) else [value]


def sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels in an order that does not depend on the rows: numeric if all are numbers.

    >>> sorted_labels(["10", "9", "1"]), sorted_labels(["중립", "긍정"])
    (('1', '9', '10'), ('긍정', '중립'))
    """
    labels = sorted(labels)
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        return tuple(labels)


def with_labels(own: OwnData, folders: Folders, *, name: str) -> OwnData:
    """The data with the labels of its training file; logs their counts.

    Raises:
        UserError: the file has invalid rows, or too few or too many labels.
    """
    path = own.files["train"]
    if own.kind == "tagging":
        own = own.replace(joint=found_joint(own.for_split("train"), Path(path)))
    rows = OwnFiles(own.replace(labels=()), name).rows("train", folders)
    num_rows = len(rows.dataset)
    if own.kind == "reading":
        num_impossible = rows.dataset.data.column("is_impossible").to_pylist().count(True)
        logger.info(
            "%s: %s, %d of them without an answer",
            path,
            counted(num_rows, "question"),
            num_impossible,
        )
        return own.replace(may_be_impossible=num_impossible > 0)
    if own.kind in ("regression", "similarity", "text2text", "span_corruption_ko"):
        logger.info("%s: %s", path, counted(num_rows, "row"))
        return own
    counts = label_counts(own, rows)
    if own.kind == "choice":
        logger.info("%s: %s; choices: %s", path, counted(num_rows, "row"), _shown(counts))
        return own.replace(labels=_keys(own, rows, counts))
    _check_number(own, counts, num_rows)
    what = "entities" if own.kind == "tagging" else "labels"
    logger.info("%s: %s; %s: %s", path, counted(num_rows, "row"), what, _shown(counts))
    return own.replace(labels=sorted_labels(counts))


def _keys(own: OwnData, rows: Rows, counts: dict[str, int]) -> tuple[str, ...]:
    """The values of the label column: numbers from 1 or 0, letters, or names of columns."""
    size = len(own.choices)
    numbers = [tuple(str(i) for i in range(first, first + size)) for first in (1, 0)]
    letters = tuple(ascii_uppercase[:size]), tuple(ascii_lowercase[:size])
    # The first of those that match the most rows.
    keys = max(
        (*numbers, *letters, own.choices), key=lambda keys: sum(counts.get(key, 0) for key in keys)
    )
    if set(counts) <= set(keys):
        return keys
    wrong, line = _first_unknown(own, rows, keys)
    what = f"{wrong!r:.60} is none of {size} choices ({flag_of('label')} {own.columns['label']})"
    fix = "write the number (from 1) or the column name of the right choice"
    where = stored_place(own.for_split("train"), Path(own.files["train"]), line)
    raise UserError(what, where, fix, Exit.DATA)


def _shown(counts: dict[str, int]) -> str:
    """Labels with their counts, most frequent first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{label} ({count})" for label, count in ranked[:_SHOWN])
    return shown + (f", ... ({len(ranked)} in all)" if len(ranked) > _SHOWN else "")


def _check_number(own: OwnData, counts: dict[str, int], num_rows: int) -> None:
    """Raises UserError for too few labels to tell apart, or too many to be classes."""
    path = own.files["train"]
    where = path if own.kind == "tagging" else f"{path}, {flag_of('label')} {own.columns['label']}"
    if own.kind == "tagging" and not counts:
        fix = "tag entities with B- and I-, or name the column with --label_column"
        raise UserError("every tag is O", where, fix, Exit.DATA)
    if own.kind == "multilabel" and not counts:
        fix = "name the label column with --label_column"
        raise UserError("no row has a label", where, fix, Exit.DATA)
    if own.kind in ("classification", "pair_classification") and len(counts) < 2:
        what = f"all {num_rows} rows have the label {next(iter(counts))!r:.60}"
        raise UserError(what, where, "classification needs two or more labels", Exit.DATA)
    is_many = len(counts) > FEW_LABELS and len(counts) > num_rows / 2
    if own.kind != "tagging" and (is_many or len(counts) > MOST_LABELS):
        what = f"{len(counts)} different labels in {counted(num_rows, 'row')}"
        fix = "name another column, or use --task regression for numbers or text2text for texts"
        raise UserError(what, where, fix, Exit.DATA)
