"""`ke-t5 board RUNS...`: models x tasks x seeds as one table."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, add_module_import, typed
from ke_t5.config.flags import path

DESCRIPTION = """Collects the scores of runs into one table of models and tasks.

Each RUN is the folder of a run, or a folder that contains runs at any depth. Runs that
differ only in the seed are averaged; the best model of each column is compared with the
others. The page and the Markdown file also list the command of each run."""


def parser() -> ArgumentParser:
    """The parser of the command line."""
    words = Parser("board", DESCRIPTION)
    words.add_argument("runs", metavar="RUN", nargs="+", type=typed(path))
    words.add_argument("--html", metavar="FILE", type=typed(path), help="writes a page")
    words.add_argument("--markdown", metavar="FILE", type=typed(path), help="writes Markdown")
    add_module_import(words, "the task")
    return words


def main(flags: Namespace) -> None:
    """Prints the table and writes the files."""
    from ke_t5.experiments.board import main

    main(flags)
