"""Folders that are built once, by one process, and are whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ke_t5.errors import Exit, UserError


@cache
def generator_version() -> str:
    """A hash of this package's source: another generator, another folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def sample_root(cache_dir: Path) -> Path:
    """The folder below `cache_dir` for everything that this version of the generator makes."""
    return Path(cache_dir) / f"sample-{generator_version()}"


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """`target`, built where it is missing: `build` fills a folder, which is then renamed.

    However many processes ask at once, one builds and the others wait; a process that died leaves
    no lock behind and nothing that could be taken for the whole.

    Raises:
        UserError: the folder cannot be written.
    """
    if target.is_dir():
        return target
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            if not target.is_dir():
                _build(target, build)
    except OSError as error:
        raise UserError(
            f"the sample cannot be written ({error.strerror or error})",
            str(target),
            "name a folder with room and write access: --hf_cache_dir FOLDER",
            Exit.MACHINE,
        ) from error
    return target


def _build(target: Path, build: Callable[[Path], None]) -> None:
    """Builds under a passing name; whoever holds the lock also clears what dead builders left."""
    for left_over in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(left_over)
    passing = target.parent / f".{target.name}.{os.getpid()}.tmp"
    passing.mkdir()
    try:
        build(passing)
        passing.rename(target)
    finally:
        shutil.rmtree(passing, ignore_errors=True)
