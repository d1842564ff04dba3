"""What a cache folder says of its own files, so that damaged ones are found when it is opened."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from ke_t5.pipe.code import Stamp, stamp_of

INFO_FILE = "info.json"
FILES, CHECKSUM = "files", "checksum"


class Damaged(Exception):
    """Says what is wrong with a cache folder."""


def write_info(folder: Path, info: dict[str, Any], *, name: str = INFO_FILE) -> None:
    """Writes the file `name`: what `info` says, and the checksums of all files in the folder."""
    own = folder / name
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != own)
    sums = {path.relative_to(folder).as_posix(): _checksum(path, stamp_of(path)) for path in paths}
    content = {**info, FILES: sums}
    text = json.dumps({**content, CHECKSUM: _of_json(content)}, ensure_ascii=False, indent=1)
    own.write_text(text, encoding="utf-8")


def read_info(folder: Path, *, name: str = INFO_FILE) -> dict[str, Any]:
    """What was given to `write_info`, if all files are what they were then. Folders of earlier
    versions, which have no checksums, are believed.

    Raises:
        Damaged: a file is missing or has another content.
    """
    try:
        info = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        raise Damaged(f"{name} is missing") from None
    except ValueError:
        raise Damaged(f"{name} is damaged") from None
    if not isinstance(info, dict):
        raise Damaged(f"{name} is damaged")
    if FILES not in info and CHECKSUM not in info:
        return info
    if info.pop(CHECKSUM, None) != _of_json(info):
        raise Damaged(f"{name} is damaged")
    for path, checksum in info.pop(FILES).items():
        try:
            found = _checksum(folder / path, stamp_of(folder / path))
        except FileNotFoundError:
            raise Damaged(f"{path} is missing") from None
        if found != checksum:
            raise Damaged(f"{path} is damaged")
    return info


def fault_of(folder: Path, *, name: str = INFO_FILE) -> str | None:
    """What is wrong with the folder, None for nothing."""
    try:
        read_info(folder, name=name)
    except Damaged as problem:
        return str(problem)
    return None


@functools.lru_cache(maxsize=1024)
def _checksum(path: Path, _stamp: Stamp) -> str:
    """A hash at the speed of memory, against accidents; once per process while nothing changes."""
    import xxhash

    with path.open("rb") as file:
        # The type stubs know the algorithms of `hashlib` only.
        digest: Any = hashlib.file_digest(file, xxhash.xxh3_128)  # type: ignore[arg-type]
    return digest.hexdigest()


def _of_json(content: dict[str, Any]) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
