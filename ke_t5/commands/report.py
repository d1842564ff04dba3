"""`ke-t5 report`: rewrites the report of a run from the files in its folder."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ke_t5.commands.arguments import Parser, typed
from ke_t5.config.flags import path

DESCRIPTION = """\
Writes report.html into a run's folder: curves of the training, scores, time, memory, data,
commands, versions and configuration, on one page that needs no other file."""


def parser() -> ArgumentParser:
    """The parser of the command line."""
    words = Parser("report", DESCRIPTION)
    words.add_argument("run", metavar="RUN", type=typed(path), help="a run's folder")
    words.add_argument(
        "--markdown", action="store_true", help="print it as Markdown instead, without curves"
    )
    return words


def main(flags: Namespace) -> None:
    """Writes the page, or prints the Markdown."""
    from ke_t5.report.run_report import markdown_report, write_run_report

    folder = Path(flags.run)
    text = markdown_report(folder) if flags.markdown else f"{write_run_report(folder)}\n"
    sys.stdout.write(text)
