"""Data sets that are built once: a key over all that they depend on, one builder, atomic rename."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

INFO_FILE = "info.json"
DATA_FILE = "data.arrow"
# datasets refuses longer fingerprints together with num_proc.
KEY_LENGTH = 32


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where data lies: raw releases (`--hf_data_dir`, or none) and what is built from them."""

    data: Path | None
    cache: Path


def default_cache_dir() -> Path:
    """`~/.cache/ke_t5`."""
    return Path.home() / ".cache" / "ke_t5"


def make_key(parts: Any) -> str:
    """32 hex digits over `parts`, which are turned into JSON by `describe`."""
    text = json.dumps(describe(parts), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


@functools.lru_cache(maxsize=1024)
def _hash_file(path: str, _size: int, _modified_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:KEY_LENGTH]


def hash_files(paths: Iterable[Path]) -> list[str]:
    """A hash of each file's bytes (a file is read once per process while it does not change)."""
    hashes = []
    for path in paths:
        stat = path.stat()
        hashes.append(_hash_file(str(path), stat.st_size, stat.st_mtime_ns))
    return hashes


@functools.cache
def package_version() -> str:
    """A hash over the source of the rooms that make examples: a changed line is another key."""
    root = Path(__file__).resolve().parents[1]
    files = sorted(
        path for room in ("pipe", "readers", "task") for path in root.glob(f"{room}/*.py")
    )
    return hashlib.sha256(" ".join(hash_files(files)).encode()).hexdigest()[:KEY_LENGTH]


def describe(thing: Any) -> Any:
    """`thing` as JSON data that is equal exactly when it computes the same.

    Functions are described by their name, their module's source and what they close over; partials
    and dataclasses by their parts. Anything without a stable description raises ValueError.
    """
    if thing is None or isinstance(thing, (str, int, float, bool)):
        return thing
    if isinstance(thing, Path):
        return str(thing)
    if isinstance(thing, functools.partial):
        return ["partial", describe(thing.func), describe(thing.args), describe(thing.keywords)]
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
        return [type(thing).__qualname__, describe(fields)]
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [describe(value) for value in thing]
    if isinstance(thing, (set, frozenset)):
        return sorted(json.dumps(describe(value), sort_keys=True) for value in thing)
    if inspect.isfunction(thing):
        return _describe_function(thing)
    text = repr(thing)
    if " at 0x" in text:
        raise ValueError(
            f"{text} has no stable description, so what it makes cannot be cached: pass a "
            "function, a functools.partial, a dataclass or plain values"
        )
    return [type(thing).__qualname__, text]


def _describe_function(function: Callable) -> Any:
    module = inspect.getmodule(function)
    file = getattr(module, "__file__", None)
    source = hash_files([Path(file)]) if file and Path(file).exists() else []
    closed_over = [cell.cell_contents for cell in function.__closure__ or ()]
    inner = getattr(function, "example_function", None)
    if inner is not None:  # a decorated preprocessor closes over itself
        closed_over = [inner]
    return [
        "function",
        function.__module__,
        function.__qualname__,
        source,
        [describe(value) for value in closed_over],
        describe(function.__defaults__),
        describe(function.__kwdefaults__),
    ]


def build_once(folder: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The information stored with `folder`, after building it if nobody has.

    `build(temporary_folder)` writes the files and returns what `info.json` shall hold.
    """

    def build_with_info(temporary: Path) -> None:
        text = json.dumps(build(temporary), ensure_ascii=False, indent=1)
        (temporary / INFO_FILE).write_text(text, encoding="utf-8")

    build_folder_once(folder, build_with_info)
    return json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))


def build_folder_once(folder: Path, build: Callable[[Path], None]) -> None:
    """Makes `folder` if it is not there: `build` fills a temporary one, which is then renamed.

    One process builds while the others wait; the lock of a process that died is free at once, and
    the half-made folder it left is removed.
    """
    from filelock import FileLock

    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            return
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            build(temporary)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
