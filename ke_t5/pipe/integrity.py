"""Checksums of the files in a cache folder, by which damage is found when it is opened.

A large file is verified once a week, after each boot and whenever it was written: reading 100 GB
takes every process minutes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ke_t5.files import Stamp, stamp_of, write_atomically

INFO_FILE = "info.json"
FILES, CHECKSUM = "files", "checksum"
LARGE, SECONDS_KNOWN = 256 << 20, 7 * 24 * 3600


class Damaged(Exception):
    """A cache folder is damaged; the message says how."""


def write_info(folder: Path, info: dict[str, Any], *, name: str = INFO_FILE) -> None:
    """Writes `info` and the checksums of all files in the folder to its file `name`."""
    own = folder / name
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != own)
    sums = {path.relative_to(folder).as_posix(): _checksum(path, stamp_of(path)) for path in paths}
    content = {**info, FILES: sums}
    text = json.dumps({**content, CHECKSUM: _of_json(content)}, ensure_ascii=False, indent=1)
    own.write_text(text, encoding="utf-8")


def read_info(folder: Path, *, name: str = INFO_FILE) -> dict[str, Any]:
    """The `info` that was passed to `write_info`, after verifying all files; folders of earlier
    versions, without checksums, are not verified.

    Raises:
        Damaged: a file is missing or has changed.
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
    known = _Known(folder, name)
    for path, checksum in info.pop(FILES).items():
        try:
            stamp = stamp_of(folder / path)
            if known.has(path, stamp, checksum):
                continue
            found = _checksum(folder / path, stamp)
        except FileNotFoundError:
            raise Damaged(f"{path} is missing") from None
        if found != checksum:
            raise Damaged(f"{path} is damaged")
        known.add(path, stamp, checksum)
    known.write()
    return info


class _Known:
    """The large files of a folder that this machine has verified, kept in a file beside it.

    An entry is valid for a week and until the file's stamp changes, as it does on every write.
    """

    def __init__(self, folder: Path, name: str) -> None:
        machine = f"{socket.gethostname()[:40]}-{_start_of_machine()}"
        self._file = folder.with_name(f"{folder.name}.read-{machine}.{name}")
        self._files: dict[str, Any] = {}
        self._is_new = False
        with suppress(OSError, ValueError, TypeError):
            self._files = dict(json.loads(self._file.read_bytes()))

    def has(self, path: str, stamp: Stamp, checksum: str) -> bool:
        """Whether the file was verified to have that checksum."""
        entry = self._files.get(path)
        if not isinstance(entry, list) or entry[:-1] != [*stamp, checksum]:
            return False
        return 0 <= time.time() - entry[-1] < SECONDS_KNOWN

    def add(self, path: str, stamp: Stamp, checksum: str) -> None:
        """Records the file if it is large."""
        if stamp[2] >= LARGE:
            self._files[path] = [*stamp, checksum, int(time.time())]
            self._is_new = True

    def write(self) -> None:
        """Saves new records if the folder is writable."""
        if self._is_new:
            with suppress(OSError):
                write_atomically(self._file, json.dumps(self._files))


@functools.cache
def _start_of_machine() -> str:
    """An identifier of the current boot; "" if the system has none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    return ""


def fault_of(folder: Path, *, name: str = INFO_FILE) -> str | None:
    """What is wrong with the folder; None for nothing."""
    try:
        read_info(folder, name=name)
    except Damaged as problem:
        return str(problem)
    return None


@functools.lru_cache(maxsize=1024)
def _checksum(path: Path, _stamp: Stamp) -> str:
    """A fast hash against accidental damage; cached until the file changes."""
    import xxhash

    with path.open("rb") as file:
        # The type stubs know the algorithms of `hashlib` only.
        digest: Any = hashlib.file_digest(file, xxhash.xxh3_128)  # type: ignore[arg-type]
    return digest.hexdigest()


def _of_json(content: dict[str, Any]) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
