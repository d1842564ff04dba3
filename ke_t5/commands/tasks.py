"""`ke-t5 tasks`: lists tasks by name, form or word, and whether their data exists."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from ke_t5.commands.arguments import Parser, add_module_import, typed
from ke_t5.config.flags import path
from ke_t5.errors import UserError
from ke_t5.forms import FORMS
from ke_t5.terminal import table

HEAD = ("task", "form", "metric", "source", "data")


def parser() -> ArgumentParser:
    """The parser of the command line."""
    words = Parser("tasks", "Lists the tasks, their metrics, and whether their data exists.")
    words.add_argument("words", nargs="*", metavar="WORD", help="only tasks that match all words")
    words.add_argument("--form", choices=sorted(FORMS), help="only tasks of this form")
    words.add_argument(
        "--hf_data_dir", metavar="DIR", type=typed(path), help="raw releases (./data)"
    )
    add_module_import(words, "tasks")
    words.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    return words


def main(flags: Namespace) -> None:
    """Prints the table.

    Raises:
        UserError: no task matches.
    """
    rows = task_rows(flags.hf_data_dir, flags.module_import)
    wanted = [word.casefold() for word in flags.words]
    shown = [
        row
        for row in rows
        if flags.form in (None, row[1]) and all(word in " ".join(row).casefold() for word in wanted)
    ]
    if not shown:
        what = " ".join(flags.words) or f"--form {flags.form}"
        raise UserError("no task matches", f"{what!r:.60}", "see ke-t5 tasks")
    if flags.json:
        lines = [json.dumps(dict(zip(HEAD, row, strict=True)), ensure_ascii=False) for row in shown]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    else:
        sys.stdout.write(table(HEAD, shown))


def task_rows(data_dir: str | None, modules: Sequence[str]) -> list[tuple[str, ...]]:
    """The cells of all tasks and mixtures, with the columns of `HEAD`."""
    from ke_t5.config.gin_config import import_modules
    from ke_t5.own_data import own_data_of, register_kinds
    from ke_t5.pipe import MixtureRegistry, TaskRegistry
    from ke_t5.pipe.cache import Folders, default_cache_dir, default_data_dir
    from ke_t5.task.task import mixture_row, table_row

    import_modules(modules)
    register_kinds()
    folders = Folders(Path(data_dir) if data_dir else default_data_dir(), default_cache_dir())
    rows: list[tuple[str, ...]] = []
    for name in TaskRegistry.names():
        task = TaskRegistry.get(name)
        cells = table_row(task, folders)[:5]
        own = own_data_of(task)
        is_open = own is not None and not own.files
        rows.append((*cells[:3], "own data", "--train_file FILE") if is_open else cells)
    for mixture in map(MixtureRegistry.get, MixtureRegistry.names()):
        name, form, best, members = mixture_row(mixture)
        rows.append((name, form, best, "mixture", members))
    return rows
