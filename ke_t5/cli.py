"""The entry points `ke-t5`, `ke-t5-train` and `ke-t5-test`; in a clone `python -m ke_t5`,
`train_ddp.py` and `test_ddp.py`.

Nothing heavy is imported until the flags have been parsed without errors.
"""

from __future__ import annotations

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from ke_t5.commands.completion import complete
from ke_t5.commands.launch import launch
from ke_t5.commands.table import COMMANDS, Command
from ke_t5.config.flags import parse_test, parse_train, wants_traceback
from ke_t5.distributed import say
from ke_t5.errors import UserError, shortened, suggestion
from ke_t5.failure import run_and_exit
from ke_t5.garbage import collect_rarely
from ke_t5.launchers import adopt_launcher, launched_rank
from ke_t5.programs import COMMAND_NAMES, MODULE, ONE_COMMAND
from ke_t5.rendezvous import post_fault, sign_in
from ke_t5.standard_streams import tick
from ke_t5.threads import set_wait_policy

# Commands that a launcher may start, one process per GPU.
LAUNCHED = tuple(COMMAND_NAMES.values())


def train() -> NoReturn:
    """Trains a model from the command line and exits."""
    _run_script("train", parse_train)


def test() -> NoReturn:
    """Tests a model from the command line and exits."""
    _run_script("test", parse_test)


def main() -> NoReturn:
    """Runs the subcommand that the command line names and exits."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
    words = sys.argv[1:]
    _run(partial(_main, words), words[1:])


def _run_script(name: str, parse: Callable[[Sequence[str]], Namespace]) -> NoReturn:
    words = sys.argv[1:]
    _run(partial(_start_launched, name, partial(parse, words)), words)


def _run(run: Callable[[], None], words: Sequence[str]) -> NoReturn:
    run_and_exit(run, debug=wants_traceback(words), post_fault=post_fault)


def _main(words: Sequence[str]) -> None:
    command = command_of(words)
    if command is None:
        return
    module = importlib.import_module(command.module)
    parse = module.parser().parse_args
    if command.name in LAUNCHED:
        words = launch(command.name, words[1:], parse)
        _start_launched(command.name, partial(parse, words))
    else:
        flags = parse(words[1:])
        set_wait_policy()
        module.main(flags)


def _start_launched(name: str, parse: Callable[[], Namespace]) -> None:
    """Runs `train` or `test`, possibly as one of several processes."""
    adopt_launcher()
    sign_in()
    flags = parse()
    set_wait_policy()
    collect_rarely()
    if not flags.quiet:
        say(shortened(f"{flags.task}: reading settings and data"))
        if launched_rank() == 0:
            tick()
    importlib.import_module(f"{MODULE}.commands.{name}").main(flags)


def command_of(words: Sequence[str]) -> Command | None:
    """The command named by the first word; None if help or version were printed instead.

    Raises:
        UserError: the command does not exist.
    """
    name = words[0] if words else "--help"
    if name in ("--help", "-h", "help", "--version", "-V"):
        if launched_rank() == 0:
            is_version = name in ("--version", "-V")
            version = importlib.import_module(MODULE).__version__
            sys.stdout.write(f"{ONE_COMMAND} {version}\n" if is_version else help_text())
        return None
    commands = {command.name: command for command in COMMANDS}
    if name.startswith("-"):
        fix = f"begin with a command, such as {ONE_COMMAND} train; see {ONE_COMMAND} --help"
        raise UserError("a flag before the command", f"{name:.60}", fix)
    if name not in commands:
        raise UserError("no such command", f"{name!r:.60}", suggestion(name, commands))
    return commands[name]


def help_text() -> str:
    """The text of `ke-t5 --help`: one line per command."""
    column = max(len(command.name) for command in COMMANDS) + 2
    lines = [f"  {command.name:<{column}}{command.summary}" for command in COMMANDS]
    return "\n".join(
        [
            "Fine-tunes, tests and exports models on Korean tasks.",
            "",
            f"usage: {ONE_COMMAND} COMMAND [flags]",
            "",
            "Commands:",
            *lines,
            "",
            f"{ONE_COMMAND} COMMAND --help lists a command's flags; {ONE_COMMAND} --version.",
            "",
        ]
    )
