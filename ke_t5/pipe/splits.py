"""Split expressions: slices, sums, and a held-out tenth if a source has no validation split."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.cache import Folders
from ke_t5.pipe.rows import ROW_ID, Rows
from ke_t5.pipe.sources import DataSource, unknown_split

if TYPE_CHECKING:
    import datasets

# If a source has no validation split, a tenth of its training groups replaces it.
HELD_IN, HELD_OUT = "train[by group: 90%]", "train[by group: 10%]"


def resolve_split(
    spec: str,
    source: DataSource,
    folders: Folders,
    load_rows: Callable[[str, Folders], Rows],
) -> list[tuple[str, Any, int]]:
    """The slices of a split expression as (split, ids of its rows, offset of their ids).

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
        raise UserError(
            f"is not a valid slice ({error})",
            f"split {spec!r}",
            "write it like train[:90%] or train[100:200]",
        ) from error
    starts = dict(zip(lengths, itertools.accumulate(lengths.values(), initial=0), strict=False))
    return [(one.splitname, range(one.from_, one.to), starts[one.splitname]) for one in slices]


def provenance(
    spec: str, source: DataSource, folders: Folders, load_rows: Callable[[str, Folders], Rows]
) -> dict[str, Any]:
    """Split -> the provenance of its rows (see `Rows`), for the splits of an expression."""
    names = dict.fromkeys(split for split, *_ in resolve_split(spec, source, folders, load_rows))
    return {name: dict(load_rows(name, folders).provenance) for name in names}


def _held(dataset: datasets.Dataset, group: str | None, *, out: bool) -> list[int]:
    """Ids of the rows whose group (else whose index) hashes into the held-out tenth, or not."""
    values = dataset[group] if group else dataset[ROW_ID]
    is_out: dict[Any, bool] = {}
    for value in values:
        if value not in is_out:
            is_out[value] = int(hashlib.md5(str(value).encode()).hexdigest(), 16) % 10 == 0
    return [i for i, value in enumerate(values) if is_out[value] == out]


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
    both = [resolve_split(spec, source, folders, load_rows) for spec in (first, second)]
    common = set.intersection(*({split for split, *_ in slices} for slices in both))
    rows = [
        {(split, i) for split, ids, _ in slices if split in common for i in ids} for slices in both
    ]
    return len(rows[0] & rows[1])


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
