"""The printed table of tasks, with the place, licence and home page of their data.

`python -m ke_t5.task.task` runs `main` here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ke_t5.errors import counted
from ke_t5.pipe.cache import Folders, default_cache_dir, default_data_dir
from ke_t5.pipe.mixture import Mixture, MixtureRegistry
from ke_t5.pipe.task import Task, TaskRegistry
from ke_t5.task.release_check import faults_of

# Releases whose readers were written from descriptions, without access to the real files.
UNCHECKED = (
    "nikl_ne", "nikl_cola", "nikl_summary_summary", "nikl_summary_topic", "nikl_cr_mentions",
    "nikl_cr_antecedents", "nikl_cr_documents", "kold", "khaters",
    "korfin_asc", "massive_ko", "korquad2",
    *(f"nikluge_{task}" for task in "ea au iau sa nli sc gtps cci dcs".split()),
)  # fmt: skip


def main(argv: Sequence[str]) -> None:
    """Prints the tables of tasks and mixtures, or with --check the faults of the releases."""
    parser = argparse.ArgumentParser(
        prog="python -m ke_t5.task.task", description="Lists all tasks and where their data is."
    )
    parser.add_argument("--hf_data_dir", type=Path, help="raw releases (default: ./data)")
    check = "read the releases that are found, and list their known faults with the rows"
    parser.add_argument("--check", action="store_true", help=check)
    arguments = parser.parse_args(argv)
    folder = arguments.hf_data_dir or default_data_dir()
    folders = Folders(folder, default_cache_dir())
    if arguments.check:
        for line in check_lines(folders):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        return
    sys.stdout.write("".join(f"{line}\n" for line in table_lines(folders)))


def check_lines(folders: Folders) -> Iterator[str]:
    """The faults of the releases below the data folder, and the number of releases read."""
    releases = {}
    for name in TaskRegistry.names():
        source: Any = TaskRegistry.get(name).source
        if getattr(source, "release", None) is not None and source.find(folders):
            releases.setdefault(source.name.removesuffix("_split"), source.release)
    for release in releases.values():
        assert folders.data is not None, "releases were found in it"
        yield from faults_of(release, folders.data)
    yield f"{counted(len(releases), 'release')} read: {', '.join(releases) or 'none found'}"


def table_lines(folders: Folders) -> list[str]:
    """The tables of all registered tasks and mixtures, with a legend."""
    header = ("task", "form", "best by", "source", "data", "licence", "where to get it")
    tasks = map(TaskRegistry.get, TaskRegistry.names())
    lines = columns([header, *(table_row(task, folders) for task in tasks)])
    lines += ["", "* its reader was written from descriptions and is unchecked on real files", ""]
    mixtures = map(MixtureRegistry.get, MixtureRegistry.names())
    header = ("mixture", "form", "best by", "tasks")
    return lines + columns([header, *map(mixture_row, mixtures)])


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells that are aligned in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def mixture_row(mixture: Mixture) -> tuple[str, ...]:
    """The cells of a mixture."""
    best = mixture.best.metric if mixture.best else "-"
    return mixture.name, mixture.form, best, ", ".join(task.name for task in mixture.members)


def table_row(task: Task, folders: Folders) -> tuple[str, ...]:
    """The cells of a task."""
    source: Any = task.source
    best = task.best.metric if task.best else "-"
    release = getattr(source, "release", None)
    if release is None:  # a user's task
        return (task.name, task.form, best, source.name, "", "", "")
    mark = " *" if release.name.removesuffix("_split") in UNCHECKED else ""
    splits = source.find(folders)
    if splits:
        data = f"found: {', '.join(splits)}"
    elif release.hub is not None:
        data = f"on the hub: {release.hub.path}"
    else:
        data = "to be downloaded"
    return (
        task.name, task.form, best, release.name + mark, data, release.licence, release.home,
    )  # fmt: skip
