"""The places and statistics of a split's examples, kept in files beside them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ke_t5.pipe.cache import build_once, make_key
from ke_t5.pipe.column_files import open_array, read_columns, save_array
from ke_t5.pipe.examples import Counts, Examples
from ke_t5.pipe.features import Feature
from ke_t5.pipe.preparation import COLUMNS, IDS_FILE, Prepared

PLACES_FILE = "places.npy"


def stored_examples(
    cache: Path,
    prepared: Prepared,
    features: Mapping[str, Feature],
    ids: range | np.ndarray,
    *,
    id_offset: int,
    whose: list[str],
) -> Examples:
    """The examples of these rows; their places and statistics are computed once and cached.

    Args:
        cache: the folder of everything that is prepared.
        ids: the rows' ids, from `resolve_split`.
        whose: identifies the rows in the cache's key, unless `ids` is a range.
    """
    rows = ["rows", ids.start, ids.stop] if isinstance(ids, range) else whose
    name = f"{prepared.folder.name}-{make_key(rows)[:16]}"
    folder = cache / "splits" / prepared.folder.parent.name / name
    whole = functools.partial(
        Examples,
        prepared.dataset,
        features,
        id_offset=id_offset,
        key=prepared.key,
        columns=read_columns(prepared.folder, prepared.info[COLUMNS]),
        own_ids=open_array(prepared.folder / IDS_FILE),
    )

    def build(temporary: Path) -> dict[str, Any]:
        examples = whole(ids=ids)
        counts = examples.count()
        save_array(temporary / PLACES_FILE, examples.places)
        for number, values in enumerate(counts.values.values()):
            save_array(temporary / _file(number), values)
        return {**dataclasses.asdict(counts), "values": list(counts.values)}

    info = build_once(folder, build)
    values = {name: open_array(folder / _file(i)) for i, name in enumerate(info["values"])}
    lengths = {name: (total, most) for name, (total, most) in info["lengths"].items()}
    counts = Counts(info["content"], lengths, info["labelled"], info["lost"], values)
    examples = whole(places=open_array(folder / PLACES_FILE))
    examples.counts = counts
    return examples


def _file(number: int) -> str:
    return f"values-{number}.npy"
