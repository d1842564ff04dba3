"""Folders that are built once, by one process, and are either complete or absent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.cache import build_folder_once
from ke_t5.pipe.code import hash_code
from ke_t5.pipe.integrity import fault_of, write_info
from ke_t5.sample.grammar import DATA

# Hidden, because the folders are read like releases and models.
CHECKSUMS = ".checksums.json"


@cache
def generator_version() -> str:
    """A hash of this package's code, data files and vocabulary; names the sample's folder."""
    folder = Path(__file__).parent
    version = hashlib.sha256(hash_code(sorted(folder.glob("*.py"))).encode())
    for path in [*sorted(DATA.iterdir()), folder / "spiece.model"]:
        version.update(path.name.encode() + path.read_bytes())
    return version.hexdigest()[:12]


def sample_root(cache_dir: Path) -> Path:
    """The folder below `cache_dir` for the files of this version of the sample."""
    return Path(cache_dir) / f"sample-{generator_version()}"


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Builds `target` if it is missing or damaged, in one of several concurrent processes.

    Raises:
        UserError: the folder cannot be written.
    """

    def build_with_checksums(temporary: Path) -> None:
        build(temporary)
        write_info(temporary, {}, name=CHECKSUMS)

    try:
        build_folder_once(target, build_with_checksums, fault_of=partial(fault_of, name=CHECKSUMS))
    except OSError as error:
        raise UserError(
            f"the sample cannot be written ({error.strerror or error})",
            str(target),
            "name a writable folder with enough space: --hf_cache_dir FOLDER",
            Exit.MACHINE,
        ) from error
    return target
