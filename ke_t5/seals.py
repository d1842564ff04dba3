"""`MANIFEST.json`: the size and a hash of each file of a folder, checked before one is used.

Exports and a run's `model/` are sealed like checkpoints. A folder without a manifest comes from
other software and is not checked. After a deliberate change, seal the folder again:

    python -m ke_t5.seals FOLDER
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
import stat
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from ke_t5.errors import Exit, UserError, counted

logger = logging.getLogger(__name__)

MANIFEST = "MANIFEST.json"
CARD = "README.md"
# At the end of an export's card, which other programs do not copy: it requires a manifest.
MARK = f"`{MANIFEST}` has the SHA-256 of each file; ke_t5 checks them before it loads a weight."
FIX = "restore it, or accept the folder as it is: python -m ke_t5.seals FOLDER"
# Files that transformers or we might read although the manifest does not list them.
READ = re.compile(
    r"(config|generation_config|adapter_config|special_tokens_map|added_tokens|vocab|chat_template"
    r"|ke_t5|lora|.*tokenizer.*|.*\.index)\.json|.*\.(safetensors|bin|model|jinja)|(vocab|merges)\.txt"
)
# Checked only if they are used: that takes a second per gigabyte.
WEIGHTS = (".safetensors", ".bin", ".onnx", ".onnx.data")
THREADS = 8
# Hashes by their key in a manifest, and their usual names. Exports have the one that `sha256sum`
# checks and hubs show; checkpoints, which are hashed at each save and resume, have one that runs at
# the speed of memory (20 GB/s instead of 2 on one core). Older checkpoints have SHA-256.
SHA256, XXH3 = "sha256", "xxh3_128"
TITLES = {SHA256: "SHA-256", XXH3: "XXH3 hash"}
# Nanoseconds: two changes in such quick succession may have the same timestamp.
SETTLED = 2 * 10**9


def json_bytes(content: object) -> bytes:
    """Plain JSON as our files have it."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a manifest, with its own SHA-256 at the end."""
    return {**content, "sha256": hashlib.sha256(json_bytes(content)).hexdigest()}


def new_hash(name: str) -> Any:
    """A new hash object of that name, with `update` and `hexdigest`."""
    if name == XXH3:
        import xxhash

        return xxhash.xxh3_128()
    return hashlib.sha256()


def class_title(model_class: type) -> str:
    """The name of a class in manifests and in `--model_name`: module:Class."""
    module = model_class.__module__
    home = "transformers" if module.startswith("transformers.") else module
    return f"{home}:{model_class.__qualname__}"


def seal_folder(folder: Path, **facts: str) -> int:
    """Writes the manifest of all files in a folder; returns how many there are.

    Args:
        facts: further entries of the manifest, such as the model's class.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    names.pop(MANIFEST, None)
    files = {name: _seal(path) for name, path in names.items()}
    (folder / MANIFEST).write_bytes(json_bytes(sealed({"format": 1, **facts, "files": files})))
    return len(files)


def _seal(path: Path, name: str = SHA256) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, functools.partial(new_hash, name)).hexdigest()
    return {"size": path.stat().st_size, name: digest}


def _is_seal(content: Any) -> bool:
    """Whether it has a size and a known hash."""
    return type(content["size"]) is int and _hash_name(content) is not None


def _hash_name(content: Mapping[str, Any]) -> str | None:
    return next((name for name in TITLES if isinstance(content.get(name), str)), None)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A folder's manifest; None if it is damaged.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = json.loads(content)
        seal = manifest.pop("sha256")
        is_intact = content == json_bytes(sealed(manifest)) and all(
            is_inside(name) and _is_seal(file) for name, file in manifest["files"].items()
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return {**manifest, "sha256": seal} if is_intact and manifest["files"] else None


def is_inside(name: object) -> bool:
    """Whether a name in an index or a manifest stays inside its folder."""
    if not isinstance(name, str):
        return False
    path = PurePosixPath(name)
    is_plain = not re.search(r"[\\\0]", name) and not re.match(r"[A-Za-z]:", name)
    return is_plain and bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def first_fault(folder: Path, files: Mapping[str, Mapping]) -> str | None:
    """What is wrong with one of a folder's files, beginning with its name; None if all match
    their seals."""
    with ThreadPoolExecutor(min(len(files), THREADS) or 1) as pool:
        faults = pool.map(lambda item: _find_file_fault(folder / item[0], item), files.items())
        return next(filter(None, faults), None)


def _find_file_fault(path: Path, item: tuple[str, Mapping]) -> str | None:
    name, seal = item
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return f"{name} is not a file"
        if found.st_size != seal["size"]:
            return f"{name} has {found.st_size:,} bytes instead of {seal['size']:,}"
        kind = _hash_name(seal) or SHA256
        digest = _seal(path, kind)[kind]
    except FileNotFoundError:
        return f"{name} is missing"
    except (OSError, ValueError) as error:
        return f"{name} cannot be read ({getattr(error, 'strerror', None) or error})"
    if digest != seal[kind]:
        return f"{name} is damaged (its {TITLES[kind]} differs)"
    return None


# ------------------------------------------------------------------------ exports and models


def check_folder(
    folder: Path, *, where: str, weights: bool = True, is_sealed: bool = False
) -> dict[str, Any]:
    """Raises UserError if a file of a sealed folder has changed; returns the manifest, {} if there
    is none.

    Args:
        where: the flag that names the folder, for the error.
        weights: whether to check the weights too, which takes a second per gigabyte.
        is_sealed: whether a manifest is required; otherwise the folder's card says so.
    """
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        if is_sealed or _is_marked(folder):
            raise _changed(f"{MANIFEST} is missing", folder, where) from None
        return {}
    if manifest is None:
        raise _changed(f"{MANIFEST} is damaged", folder, where)
    files = manifest["files"]
    chosen = {
        name: file
        for name, file in files.items()
        if name != CARD and (weights or not name.endswith(WEIGHTS))
    }
    strange = [path.name for path in folder.iterdir() if READ.fullmatch(path.name)]
    strange = sorted(name for name in strange if name not in files)
    if strange:
        raise _changed(f"{strange[0]} was added", folder, where)
    if fault := _fault_of(folder, chosen):
        raise _changed(fault, folder, where)
    if CARD in files and (fault := first_fault(folder, {CARD: files[CARD]})):
        _warn(folder, fault)
    return manifest


def _is_marked(folder: Path) -> bool:
    try:
        return MARK in (folder / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _fault_of(folder: Path, files: Mapping[str, Mapping]) -> str | None:
    """`first_fault`, computed again only if a file has changed or is very new."""
    try:
        stats = [(folder / name).stat() for name in files]
    except OSError:
        return first_fault(folder, files)
    changed = max(max(one.st_mtime_ns, one.st_ctime_ns) for one in stats)
    if time.time_ns() - changed < SETTLED:
        return first_fault(folder, files)
    states = tuple((one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in stats)
    return _known_fault(folder, json.dumps(files), states)


@functools.lru_cache(maxsize=8)
def _known_fault(folder: Path, files: str, states: tuple) -> str | None:
    return first_fault(folder, json.loads(files))


@functools.cache
def _warn(folder: Path, fault: str) -> None:
    """Warns once of a changed card: users edit it, and no prediction depends on it."""
    logger.warning("%s: %s; it was changed since the export (the model is not)", folder, fault)


def _changed(what: str, folder: Path, where: str) -> UserError:
    return UserError(what, f"{where} {folder}".strip(), FIX, Exit.CHECKPOINT)


def main(arguments: list[str]) -> int:
    """`python -m ke_t5.seals FOLDER`: seals a folder again, after a deliberate change."""
    folder = Path(arguments[0]) if len(arguments) == 1 else None
    if folder is None or not (folder / "config.json").is_file():
        sys.stderr.write("error: python -m ke_t5.seals FOLDER: give the folder of a model\n")
        return int(Exit.FLAGS)
    try:
        before = read_manifest(folder) or {}
    except FileNotFoundError:
        before = {}
    known = ("format", "files", "sha256")
    facts = {name: value for name, value in before.items() if name not in known}
    try:
        count = seal_folder(folder, **facts)
    except (OSError, ValueError) as error:
        place = getattr(error, "filename", None) or folder
        what = f"cannot be sealed ({getattr(error, 'strerror', None) or error})"
        fix = "check permissions and names"
        sys.stderr.write(f"{UserError(what, str(place), fix, Exit.MACHINE)}\n")
        return int(Exit.MACHINE)
    sys.stdout.write(f"sealed {folder}: {counted(count, 'file')}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
