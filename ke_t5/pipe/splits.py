"""Split expressions: slices, sums, and a held-out tenth if a source has no validation split."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.cache import Folders
from ke_t5.pipe.rows import ROW_ID, Rows
from ke_t5.pipe.sources import DataSource, unknown_split

if TYPE_CHECKING:
    import datasets

# If a source has no validation split, a tenth of its training groups replaces it.
SLICE = re.compile(
    r"(?P<name>\w+(?:[-.]\w+)*)"
    r"(?:\[(?P<begin>-?\d[\d_]*)?(?P<begin_percent>(?<=\d)%)?:"
    r"(?P<end>-?\d[\d_]*)?(?P<end_percent>(?<=\d)%)?\])?(?:\([^)]*\))?",
    re.ASCII,
)
HELD_IN, HELD_OUT = "train[by group: 90%]", "train[by group: 10%]"


def resolve_split(
    spec: str,
    source: DataSource,
    folders: Folders,
    load_rows: Callable[[str, Folders], Rows],
) -> list[tuple[str, range | np.ndarray, int]]:
    """The slices of a split expression as (split, ids of its rows in order, offset of their ids).

    Ids are row indices in the unsliced split; in a sum of different splits, an offset by the sizes
    of the splits before keeps them unique.
    """
    import datasets

    known = source.splits(folders)
    if spec in (HELD_IN, HELD_OUT):
        rows = load_rows("train", folders)
        return [("train", _held(rows.dataset, source.group, out=spec == HELD_OUT), 0)]
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
    """The names of the splits in an expression, whose form is checked without reading any data.

    Raises:
        UserError: it is not a split expression (exit 2), or a slice without any row (exit 3).
    """
    if spec in (HELD_IN, HELD_OUT):
        return ["train"]
    names = []
    for part in re.split(r"\s*\+\s*", spec.strip()):
        match = SLICE.fullmatch(part)
        if match is None:
            raise _no_slice(spec, f"{part!r:.60} is no split" if "+" in spec else "")
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
    """Whether a slice ends where it begins or before, however many rows there are."""
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
    """Split -> the provenance of its rows (see `Rows`), for the splits of an expression."""
    names = dict.fromkeys(split for split, *_ in resolve_split(spec, source, folders, load_rows))
    return {name: dict(load_rows(name, folders).provenance) for name in names}


def _held(dataset: datasets.Dataset, group: str | None, *, out: bool) -> np.ndarray:
    """Ids of the rows whose group (else whose index) hashes into the held-out tenth, or not."""
    is_out = np.zeros(len(dataset), dtype=bool)
    of_value: dict[Any, bool] = {}
    row = 0
    # Chunk by chunk, so that few rows are Python objects at once.
    for chunk in dataset.data.column(group or ROW_ID).chunks:
        for value in chunk.to_pylist():
            if group is None:
                is_out[row] = _is_held_out(value)
            else:
                if value not in of_value:
                    of_value[value] = _is_held_out(value)
                is_out[row] = of_value[value]
            row += 1
    return np.flatnonzero(is_out == out)


def _is_held_out(value: Any) -> bool:
    return int(hashlib.md5(str(value).encode()).hexdigest(), 16) % 10 == 0


def num_common(
    first: str,
    second: str,
    source: DataSource,
    folders: Folders,
    load_rows: Callable[[str, Folders], Rows],
) -> int:
    """How many rows two split expressions have in common."""
    if {first, second} == {HELD_IN, HELD_OUT}:
        return 0
    one, other = (resolve_split(spec, source, folders, load_rows) for spec in (first, second))
    in_both = {split for split, *_ in one} & {split for split, *_ in other}
    return sum(len(np.intersect1d(_ids_of(split, one), _ids_of(split, other))) for split in in_both)


def _ids_of(split: str, slices: Sequence[tuple[str, range | np.ndarray, int]]) -> np.ndarray:
    """The ids of a split's rows in all slices of it."""
    return np.concatenate([np.asarray(ids) for name, ids, _ in slices if name == split])


def default_split(source: DataSource, folders: Folders, purpose: str) -> str:
    """The split for "train", "validation" or "test" unless the user gives one.

    A test uses the test split, else that of validation: never training rows.
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
