"""Split expressions: slices, sums, and a held-out tenth where a source has no validation split."""

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

# Where a source has no validation split, a tenth of its training groups takes that place.
HELD_IN, HELD_OUT = "train[by group: 90%]", "train[by group: 10%]"


def resolve_split(
    spec: str,
    source: DataSource,
    folders: Folders,
    load_rows: Callable[[str, Folders], Rows],
) -> list[tuple[str, Any, int]]:
    """The parts of a split expression as (split, ids of its rows, what to add to their ids).

    Ids are row indices in the unsliced split; in a sum of different splits each one's ids follow
    the whole of the one before, so that they stay unique.
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
        parts = datasets.ReadInstruction.from_spec(spec).to_absolute(lengths)
    except (ValueError, AssertionError) as error:
        raise UserError(
            f"is no slice ({error})",
            f"split {spec!r}",
            "write it like train[:90%] or train[100:200]",
        ) from error
    starts = dict(zip(lengths, itertools.accumulate(lengths.values(), initial=0), strict=False))
    return [(part.splitname, range(part.from_, part.to), starts[part.splitname]) for part in parts]


def provenance(
    spec: str, source: DataSource, folders: Folders, load_rows: Callable[[str, Folders], Rows]
) -> dict[str, Any]:
    """Split -> where the rows of a split expression come from (see `Rows`)."""
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
    """How many rows stand in both split expressions."""
    if {first, second} == {HELD_IN, HELD_OUT}:
        return 0
    parts = [resolve_split(spec, source, folders, load_rows) for spec in (first, second)]
    common = set.intersection(*({split for split, *_ in each} for each in parts))
    ids = [
        {(split, i) for split, chosen, _ in each if split in common for i in chosen}
        for each in parts
    ]
    return len(ids[0] & ids[1])


def default_split(source: DataSource, folders: Folders, purpose: str) -> str:
    """The split for "train", "validation" or "test" where the user names none.

    A test is of the test split, else of what training validates on: never of training rows.
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
        f"{source.name} has no {purpose} split here, it has: {', '.join(known)}",
        flag,
        f"cut one, such as --train_split '{name}[:80%]' --valid_split '{name}[80%:]'",
        Exit.DATA,
    )
