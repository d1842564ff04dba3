"""Writes files of releases below a folder, and reads rows and error messages."""

import json
from pathlib import Path

import pytest

from ke_t5.errors import Exit, UserError
from ke_t5.readers.release import Release


def put(folder: Path, name: str, content: object) -> Path:
    """Writes a file below the folder (JSON unless it is a string) and returns the folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, str):
        content = json.dumps(content, ensure_ascii=False, indent=4)
    path.write_bytes(content.encode())
    return folder


def rows(release: Release, folder: Path, split: str) -> list[dict]:
    """The rows of a split; they must have the declared columns."""
    found = list(release.find(folder)[split].rows())
    assert all(set(row) == set(release.columns) for row in found)
    return found


def hub_rows(release: Release, row: dict) -> list[dict]:
    """The release's rows for a row of the hub."""
    found = list(release.hub.to_rows(row))
    assert all(set(row) == set(release.columns) for row in found)
    return found


def refusal(release: Release, folder: Path, split: str = "train") -> str:
    """The error message when a split is read, without the folder."""
    with pytest.raises(UserError) as caught:
        rows(release, folder, split)
    assert caught.value.exit_code is Exit.DATA
    return str(caught.value).replace(f"{folder}/", "").removeprefix("error: ")


SENTENCE = "NWRW1800000029.315.1"


def sentence(number, key="NE", **change):
    entity = {"id": 1, "form": "강릉", "label": "LC", "begin": 0, "end": 2}
    form = "강릉은 바다다."
    return {"id": f"{SENTENCE}.{number}", "form": form, "word": [], key: [entity | change]}


def corpus(*sentences, document="NWRW1800000029.315"):
    metadata = {"title": "개체명", "annotation_level": ["개체명"]}
    documents = [{"id": document, "metadata": {"title": "글"}, "sentence": list(sentences)}]
    return {"id": "NXNE1902008030", "metadata": metadata, "document": documents}


def row(number, label="LC"):
    return {
        "id": f"{SENTENCE}.{number}",
        "document": "NWRW1800000029.315",
        "text": "강릉은 바다다.",
        "entities": [{"start": 0, "end": 2, "label": label}],
    }
