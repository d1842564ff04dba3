"""`ke-t5 doctor`: checks whether this machine is ready."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ke_t5.commands.arguments import Parser, typed
from ke_t5.config.flags import path
from ke_t5.errors import Exit, UserError
from ke_t5.terminal import console

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def parser() -> ArgumentParser:
    """The parser of the command line."""
    description = (
        "Checks Python, libraries, GPU, memory, disks, the hub, and the tokenizer of a model.\n"
        "Exit code 5 if there is a problem, 0 if there are warnings at most."
    )
    words = Parser("doctor", description)
    words.add_argument(
        "--pre_trained_model", metavar="NAME|DIR", type=typed(path),
        help="the model whose tokenizer to check on Korean text",
    )  # fmt: skip
    words.add_argument("--output_dir", metavar="DIR", type=typed(path), default="output")
    words.add_argument("--hf_cache_dir", metavar="DIR", type=typed(path), default="~/.cache/ke_t5")
    words.add_argument("--json", action="store_true", help="JSON instead of text")
    return words


def main(flags: Namespace) -> None:
    """Prints the findings.

    Raises:
        UserError: a finding is a problem.
    """
    from ke_t5.recipes.diagnosis import diagnose

    folders = {"output folder": flags.output_dir, "cache folder": flags.hf_cache_dir}
    found, shown = [], console()
    for finding in diagnose(
        {what: Path(folder).expanduser() for what, folder in folders.items()},
        model=flags.pre_trained_model,
    ):
        found.append(finding)
        if not flags.json:  # at once: some of the checks take seconds
            shown.print(f"{finding.state:8}", style=STYLES[finding.state], end="")
            shown.print(f" {finding.name}: {finding.text}")
            sys.stdout.flush()
    if flags.json:
        content = [finding._asdict() for finding in found]
        sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    problems = [finding.name for finding in found if finding.state == "problem"]
    if problems:
        what = f"problem with {', '.join(problems)}"
        raise UserError(what, "ke-t5 doctor", "see the lines above", Exit.MACHINE)
