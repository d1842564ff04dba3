"""`ke-t5 compare RUN_A RUN_B`: two models on the same rows."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, add_module_import, typed
from ke_t5.config.flags import path, text

DESCRIPTION = """Compares two models on the rows that both were tested on.

Each is the folder of a run, one of its eval/SPLIT, or a predictions.jsonl. Prints the
differences of the scores with 95 % intervals and p values (paired bootstrap), McNemar's
exact test of the right and wrong rows, and the rows that changed."""


def parser() -> ArgumentParser:
    """The parser of the command line."""
    words = Parser("compare", DESCRIPTION)
    words.add_argument("first", metavar="RUN_A", type=typed(path))
    words.add_argument("second", metavar="RUN_B", type=typed(path))
    words.add_argument("--split", type=typed(text), help="compare eval/SPLIT only")
    words.add_argument("--task", type=typed(text), help="for predictions without a scores.json")
    words.add_argument("--json", action="store_true", help="JSON instead of text")
    words.add_argument("--html", metavar="FILE", type=typed(path), help="writes a page")
    add_module_import(words, "the task")
    return words


def main(flags: Namespace) -> None:
    """Prints the comparison and writes the page."""
    from ke_t5.experiments.comparison import main

    main(flags)
