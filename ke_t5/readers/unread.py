"""Warnings about files of a release that are not read, as they may contain a split."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from ke_t5.readers.release import RawSplit, Release, files_below

logger = logging.getLogger(__name__)

# Suffixes of data files, file names that say nothing about the release, and files that accompany
# the data: documentation, and KLUE's lists, which no reader needs.
_DATA_SUFFIXES = frozenset(
    ".json .jsonl .tsv .csv .txt .xlsx .parquet .conllu .zip .gz .bz2 .xz .tar .tgz .7z".split()
)
_MOST_SHOWN, _MOST_FILES = 4, 20_000
_GENERIC_NAMES = frozenset("train dev valid validation test".split())
_AUXILIARY = frozenset("relation_list ontology readme license licence copying".split())


def warn_about_unread_files(
    release: Release, splits: Mapping[str, RawSplit], data_dir: Path
) -> None:
    """Warns, once per process, about files that look like the release's but are not read."""
    unread = [
        path.relative_to(data_dir).as_posix() for path in unread_files(release, splits, data_dir)
    ]
    if unread:
        line = f"{release.name}: {len(unread)} file(s) there are not read: {_shown(unread)}"
        _warn_once(line)


def near_misses(release: Release, data_dir: Path | None) -> str:
    """For a release that was not found, " (found ...)" with misplaced or compressed files that
    have its files' names; "" if there are none."""
    if data_dir is None or not data_dir.is_dir():
        return ""
    names = [path.relative_to(data_dir).as_posix() for path in unread_files(release, {}, data_dir)]
    return f" (found {_shown(names)})" if names else ""


def _shown(names: list[str]) -> str:
    return ", ".join(names[:_MOST_SHOWN]) + (" ..." if len(names) > _MOST_SHOWN else "")


@functools.cache
def _warn_once(line: str) -> None:
    logger.warning("%s", line)


def unread_files(release: Release, splits: Mapping[str, RawSplit], data_dir: Path) -> list[Path]:
    """Files that look like the release's but belong to none of its splits: data files beside or
    below those that are read, and files of the same names anywhere below `data_dir`."""
    read = {path for split in splits.values() for path in (*split.files, *split.unneeded)}
    folders = {path.parent for path in read}
    tops = [one for one in folders if not any(other in one.parents for other in folders)]
    candidates = [path for top in tops if top != data_dir for path in _some_below(top)]
    names = {_stem(Path(name)) for name in release.layout} | {_stem(path) for path in read}
    names -= _GENERIC_NAMES
    candidates += [path for path in _some_below(data_dir) if _stem(path) in names]
    return [
        path
        for path in sorted(set(candidates) - read)
        if path.suffix.lower() in _DATA_SUFFIXES and _stem(path) not in _AUXILIARY
    ]


def _some_below(folder: Path) -> Iterator[Path]:
    return itertools.islice(files_below(folder), _MOST_FILES)


def _stem(path: Path) -> str:
    """A file's name without its suffixes, in lower case; version numbers are not suffixes.

    >>> _stem(Path("NSMC/Ratings_Train.txt.gz")), _stem(Path("klue-ner-v1.1_dev.tsv"))
    ('ratings_train', 'klue-ner-v1.1_dev')
    """
    while path.suffix.lower() in _DATA_SUFFIXES:
        path = path.with_suffix("")
    return path.name.lower()
