"""JSON files with a value of the wrong type: rows have the declared types, or an error names the
row."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from readers.test_readers import RELEASES, conforms

from ke_t5.errors import Exit, UserError
from ke_t5.sample import sample_data_dir

MISSING = object()
VALUES = (MISSING, None, 3, "x", [3], {})
# Values that no reader uses.
UNREAD = ("annotations", "domains", "metadata", "word")
# Releases whose JSON files are read differently.
NAMES = [
    name
    for name, release in RELEASES.items()
    if "json" in str(release.layout) and not name.endswith("_split")
]


def paths_in(value: Any) -> list[tuple]:
    """The paths of all values in a JSON value; of a list, only those in its first element."""
    if isinstance(value, list):
        items = list(enumerate(value[:1]))
    else:
        items = list(value.items()) if isinstance(value, dict) else []
    inner = [(key, *path) for key, one in items if key not in UNREAD for path in paths_in(one)]
    return [(), *inner]


def replaced(value: Any, path: tuple, new: Any) -> Any:
    """A copy of a JSON value in which the value at a path is replaced or removed."""
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if new is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return changed


def shortened(value: Any) -> Any:
    """A JSON value with only the first element of each list."""
    if isinstance(value, list):
        return [shortened(one) for one in value[:1]]
    return {k: shortened(v) for k, v in value.items()} if isinstance(value, dict) else value


def first_row(file: Path) -> Any:
    """The content of a JSON file, shortened."""
    text = file.read_text(encoding="utf-8-sig")
    try:
        return shortened(json.loads(text))
    except ValueError:
        return [shortened(json.loads(text.partition("\n")[0]))]


def put(file: Path, sample: Path, folder: Path) -> Path:
    """Writes the first row of a file of the sample below a folder."""
    place = folder / file.relative_to(sample)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(first_row(file)), encoding="utf-8")
    return place


def is_of_columns(row: dict, columns: dict) -> bool:
    return all(conforms(row[name], kind) for name, kind in columns.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_another_kind_is_read_or_refused(name, cache_dir, tmp_path):
    release, sample = RELEASES[name], sample_data_dir(cache_dir)
    split, raw = next(iter(release.find(sample).items()))
    contents = {put(file, sample, tmp_path): first_row(file) for file in raw.files}
    for place, content in contents.items():
        for path in filter(None, paths_in(content)):
            for new in VALUES:
                place.write_text(json.dumps(replaced(content, path, new)), encoding="utf-8")
                try:
                    found = list(release.find(tmp_path)[split].rows())
                except UserError as error:
                    assert error.exit_code is Exit.DATA and error.where.startswith(str(tmp_path))
                else:
                    assert all(is_of_columns(row, release.columns) for row in found), (path, new)
        place.write_text(json.dumps(content), encoding="utf-8")
