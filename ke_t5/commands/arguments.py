"""Command-line parsers: argparse, with errors of one line that name the fix."""

from __future__ import annotations

import argparse
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any, NoReturn

from ke_t5.config.flags import FLAGS, LAUNCH_FLAGS
from ke_t5.errors import UserError, nearest
from ke_t5.programs import COMMAND_NAMES, ONE_COMMAND


class Parser(argparse.ArgumentParser):
    """The parser of a command, with `--debug`.

    Args:
        name: the command.
        description: the text of its `--help`.
    """

    def __init__(self, name: str, description: str, **options: Any) -> None:
        super().__init__(
            prog=f"{ONE_COMMAND} {name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )
        self.add_argument("--debug", action="store_true", help="show tracebacks")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The namespace of a command line.

        Raises:
            UserError: an unknown or invalid argument.
        """
        flags, rest = self.parse_known_args(args, namespace)
        if rest:
            raise self._unknown(rest[0].partition("=")[0])
        return flags

    def error(self, message: str) -> NoReturn:
        """Raises argparse's error as a UserError."""
        fix = f"see {self.prog} --help"
        argument = re.fullmatch(r"argument (?:\S+/)?(\S+?): (.*)", message, re.DOTALL)
        if argument:
            what, _, own_fix = argument[2].partition("; ")
            raise UserError(what, argument[1], own_fix or fix)
        raise UserError(message, self.prog, fix)

    def _unknown(self, word: str) -> UserError:
        fix = f"see {self.prog} --help"
        if not word.startswith("-"):
            return UserError("unexpected argument", f"{word!r:.60}", fix)
        known = [name for action in self._actions for name in action.option_strings]
        close = nearest(word.replace("-", "_"), [name.replace("-", "_") for name in known])
        spelled = {name.replace("-", "_"): name for name in known}
        if close:
            fix = f"did you mean {' or '.join(spelled[name] for name in close)}?"
        return UserError(f"unknown flag of {self.prog}", f"{word:.60}", fix)


class ScriptParser(Parser):
    """The parser of a command with a script's flags, which the script's own function parses.

    argparse gets the flags for shell completion only.
    """

    def __init__(self, script: str, read: Callable[..., Namespace]) -> None:
        super().__init__(COMMAND_NAMES[script], "")
        self._read = read
        for flag in FLAGS + LAUNCH_FLAGS:
            if script in flag.scripts and flag.name != "debug":
                text = flag.help.replace("%", "%%")
                arity = None if flag.alone is None else "?"
                self.add_argument(f"--{flag.name}", metavar=flag.metavar, help=text, nargs=arity)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The script's namespace; see `ke_t5.config.flags.parse`."""
        return self._read(args, launches=True)


def add_module_import(words: argparse._ActionsContainer, what: str) -> None:
    """Adds `--module_import`, for a user's module that contains `what`."""
    words.add_argument(
        "--module_import", metavar="MODULE", action="append", default=[],
        help=f"your module with {what}, in the current folder; may be repeated",
    )  # fmt: skip


def typed(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """A function for argparse's `type=` from one of `ke_t5.config.flags`, which raises ValueError
    with the problem and the fix: `typed(whole(1))`."""

    def value(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            what, _, fix = str(error).partition("; ")
            raise ArgumentTypeError(f"{text!r:.60} is {what}; {fix}") from None

    return value
