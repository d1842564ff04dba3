"""`ke-t5 compare RUN_A RUN_B`: two models on the same rows."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, add_module_import, typed
from ke_t5.config.flags import path, text

DESCRIPTION = """Compares two models on the rows that both were tested on.

Each is a run's folder, one of its eval/SPLIT, or a predictions.jsonl. Differences of
scores have 95 % intervals and p values (paired bootstrap), right and wrong rows McNemar's
exact test; the rows that changed sides are listed."""


def parser() -> ArgumentParser:
    """The parser of its words."""
    words = Parser("compare", DESCRIPTION)
    words.add_argument("first", metavar="RUN_A", type=typed(path))
    words.add_argument("second", metavar="RUN_B", type=typed(path))
    words.add_argument("--split", type=typed(text), help="the only results to compare (eval/SPLIT)")
    words.add_argument("--task", type=typed(text), help="of predictions without a scores.json")
    words.add_argument("--json", action="store_true", help="JSON instead of text")
    words.add_argument("--html", metavar="FILE", type=typed(path), help="writes a page")
    add_module_import(words, "the task")
    return words


def main(flags: Namespace) -> None:
    """Prints the comparison, and writes the page."""
    from ke_t5.experiments.comparison import main

    main(flags)
