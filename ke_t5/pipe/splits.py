"""Split expressions: slices, sums, and a held-out tenth for sources without a validation split."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.cache import Folders, build_once, make_key, package_version
from ke_t5.pipe.column_files import open_array, save_array
from ke_t5.pipe.rows import ROW_ID, Rows
from ke_t5.pipe.sources import DataSource, unknown_split
from ke_t5.readers.streams import listed

SLICE = re.compile(
    r"(?P<name>\w+(?:[-.]\w+)*)"
    r"(?:\[(?P<begin>-?\d[\d_]*)?(?P<begin_percent>(?<=\d)%)?:"
    r"(?P<end>-?\d[\d_]*)?(?P<end_percent>(?<=\d)%)?\])?(?:\([^)]*\))?",
    re.ASCII,
)
# Groups whose side of the cut is cached while all rows are assigned.
MOST_REMEMBERED = 1 << 16
# If a source has no validation split, a tenth of its training groups replaces it.
HELD_IN, HELD_OUT = "train[by group: 90%]", "train[by group: 10%]"


def resolve_split(
    spec: str,
    source: DataSource,
    folders: Folders,
    load_rows: Callable[[str, Folders], Rows],
) -> list[tuple[str, range | np.ndarray, int]]:
    """The slices of a split expression as (split, ids of its rows in order, offset of their ids).

    Ids are row indices in the unsliced split. In a sum of different splits the offset, the sizes of
    the splits before, keeps them unique.
    """
    import datasets

    known = source.splits(folders)
    if spec in (HELD_IN, HELD_OUT):
        rows = load_rows("train", folders)
        names = [name for name in rows.dataset.column_names if name != ROW_ID]
        if source.group and source.group not in names:
            what = f"no column {source.group!r} to group by"
            fix = f"the columns are {listed(names, 6)}"
            raise UserError(what, f"{source.name}, split 'train'", fix, Exit.DATA)
        return [("train", _held(rows, source.group, folders, out=spec == HELD_OUT), 0)]
    names = [name.strip() for name in re.findall(r"(?:^|\+)\s*([^\[+]+)", spec)] or [spec]
    for name in names:
        if name not in known:
            raise unknown_split(name, source.name, known)
    lengths = {name: len(load_rows(name, folders).dataset) for name in dict.fromkeys(names)}
    try:
        slices = datasets.ReadInstruction.from_spec(spec).to_absolute(lengths)
    except (ValueError, AssertionError) as error:
        raise _no_slice(spec, str(error)) from error
    starts = dict(zip(lengths, itertools.accumulate(lengths.values(), initial=0), strict=False))
    return [(one.splitname, range(one.from_, one.to), starts[one.splitname]) for one in slices]


def check_split(spec: str) -> list[str]:
    """The names of the splits in an expression, which is checked without reading any data.

    Raises:
        UserError: the expression is malformed (exit 2) or a slice without rows (exit 3).
    """
    if spec in (HELD_IN, HELD_OUT):
        return ["train"]
    names = []
    for part in re.split(r"\s*\+\s*", spec.strip()):
        match = SLICE.fullmatch(part)
        if match is None:
            raise _no_slice(spec, f"{part!r:.60} is not a split" if "+" in spec else "")
        begin, end = (int(match[n]) if match[n] else None for n in ("begin", "end"))
        in_percent = bool(match["begin_percent"] or match["end_percent"])
        if in_percent and any(abs(bound or 0) > 100 for bound in (begin, end)):
            raise _no_slice(spec, "a bound is over 100%")
        is_empty = begin == 100 and in_percent or end == 0 or _cross(begin, end)
        if is_empty and part == spec:
            what, fix = "contains no examples", "choose a slice with rows"
            raise UserError(what, f"split {spec!r}", fix, Exit.DATA)
        names.append(match["name"])
    return names


def _cross(begin: int | None, end: int | None) -> bool:
    """Whether a slice ends at or before its beginning for any number of rows."""
    return begin is not None and end is not None and (begin < 0) == (end < 0) and begin >= end


def _no_slice(spec: str, why: str) -> UserError:
    return UserError(
        f"is not a valid slice{why and f' ({why})'}",
        f"split {spec!r}",
        "write it like train[:90%] or train[100:200]",
    )


def provenance(
    spec: str, source: DataSource, folders: Folders, load_rows: Callable[[str, Folders], Rows]
) -> dict[str, Any]:
    """The provenance (see `Rows`) of each split in an expression, by the split's name."""
    names = dict.fromkeys(split for split, *_ in resolve_split(spec, source, folders, load_rows))
    return {name: dict(load_rows(name, folders).provenance) for name in names}


def _held(rows: Rows, group: str | None, folders: Folders, *, out: bool) -> np.ndarray:
    """The ids of the rows whose group, by default whose index, hashes into the held-out tenth, or
    of the others; computed once and cached."""
    files = {True: "out.npy", False: "in.npy"}
    key = make_key([package_version(), rows.key, group])

    def build(temporary: Path) -> dict[str, Any]:
        is_out = _are_held_out(rows.dataset.data.column(group or ROW_ID))
        for which, file in files.items():
            save_array(temporary / file, np.flatnonzero(is_out == which))
        return {"rows": len(is_out), "group": group}

    folder = folders.cache / "held_out" / key
    build_once(folder, build)
    return open_array(folder / files[out])


def _are_held_out(column: Any) -> np.ndarray:
    """Whether each value of an Arrow column hashes into the held-out tenth."""
    is_out = np.zeros(len(column), dtype=bool)
    of_value: dict[str, bool] = {}
    row = 0
    # Chunk by chunk, so that few rows are Python objects at once.
    for chunk in column.chunks:
        for value in map(str, chunk.to_pylist()):
            found = of_value.get(value)
            if found is None:
                found = _is_held_out(value)
                if len(of_value) < MOST_REMEMBERED:
                    of_value[value] = found
            is_out[row] = found
            row += 1
    return is_out


def _is_held_out(value: str) -> bool:
    return int.from_bytes(hashlib.md5(value.encode()).digest(), "big") % 10 == 0


def num_common(
    first: str,
    second: str,
    source: DataSource,
    folders: Folders,
    load_rows: Callable[[str, Folders], Rows],
) -> int:
    """The number of rows that two split expressions have in common."""
    if {first, second} == {HELD_IN, HELD_OUT}:
        return 0
    one, other = (resolve_split(spec, source, folders, load_rows) for spec in (first, second))
    in_both = {split for split, *_ in one} & {split for split, *_ in other}
    return sum(_num_common(_ids_of(split, one), _ids_of(split, other)) for split in in_both)


def _ids_of(
    split: str, slices: Sequence[tuple[str, range | np.ndarray, int]]
) -> np.ndarray | list[range]:
    """The ids of a split's rows in all its slices: the sorted ids of one side of the cut, or
    disjoint ranges."""
    own = [ids for name, ids, _ in slices if name == split]
    if not isinstance(own[0], range):
        return own[0]
    merged: list[range] = []
    ranges = [one for one in own if isinstance(one, range) and len(one)]
    for one in sorted(ranges, key=lambda one: one.start):
        if merged and one.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(one.stop, merged[-1].stop))
        else:
            merged.append(one)
    return merged


def _num_common(one: np.ndarray | list[range], other: np.ndarray | list[range]) -> int:
    """The number of ids in both of two results of `_ids_of`."""
    if isinstance(other, list):
        one, other = other, one
    if not isinstance(one, list):
        return len(one)  # the same side of the cut
    if isinstance(other, list):
        pairs = itertools.product(one, other)
        return sum(len(range(max(a.start, b.start), min(a.stop, b.stop))) for a, b in pairs)
    if not one:
        return 0
    bounds = np.array([(part.start, part.stop) for part in one], dtype=other.dtype)
    found = np.searchsorted(other, bounds)
    return int((found[:, 1] - found[:, 0]).sum())


def default_split(source: DataSource, folders: Folders, purpose: str) -> str:
    """The default split for "train", "validation" or "test".

    A test uses the test split or, without one, the validation split; never training rows.
    """
    known = source.splits(folders)
    if purpose == "test":
        return "test" if "test" in known else default_split(source, folders, "validation")
    if purpose in known and (purpose != "train" or "validation" in known):
        return purpose
    if "train" in known:
        return HELD_IN if purpose == "train" else HELD_OUT
    flag = "--train_split" if purpose == "train" else "--valid_split"
    name = known[0] if known else "train"
    raise UserError(
        f"{source.name} has no {purpose} split here; available: {', '.join(known)}",
        flag,
        f"slice one, such as --train_split '{name}[:80%]' --valid_split '{name}[80%:]'",
        Exit.DATA,
    )
