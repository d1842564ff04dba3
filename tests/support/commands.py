"""The commands in the documentation, split into words, without their launchers."""

from __future__ import annotations

import importlib
import re
import shlex
from argparse import Namespace
from dataclasses import dataclass

from ke_t5.commands.table import COMMANDS
from ke_t5.config.flags import TEST, TRAIN, parse_test, parse_train
from ke_t5.lookup.loader import check_form, check_model_name, default_model_name, load_model
from ke_t5.own_data import register_kinds
from ke_t5.pipe import get_task
from ke_t5.programs import COMMAND_NAMES, ENTRY_POINTS, ONE_COMMAND, SUITES

ONE_COMMANDS = {
    f"{ONE_COMMAND} {command.name}": importlib.import_module(command.module).parser().parse_args
    for command in COMMANDS
}
PARSERS = {
    TRAIN: parse_train,
    TEST: parse_test,
    ENTRY_POINTS[TRAIN]: parse_train,
    ENTRY_POINTS[TEST]: parse_test,
    **ONE_COMMANDS,
}
OF_SCRIPTS = {*ENTRY_POINTS, *ENTRY_POINTS.values()}
OF_SCRIPTS |= {f"{ONE_COMMAND} {name}" for name in COMMAND_NAMES.values()}
SCRIPT_LAUNCHERS = (
    r"torchrun( --\w+=\S+)*",
    r"python -m torch\.distributed\.launch( --\w+=\S+)*",
    r"python",
)
ENTRY_POINT_LAUNCHERS = (r"", r"torchrun( --\w+=\S+)* --no-python")


@dataclass(frozen=True)
class Command:
    """One command line: launcher (empty for other programs), program and arguments."""

    launcher: str
    program: str
    words: tuple[str, ...]

    @property
    def is_ours(self) -> bool:
        """Whether it is one of the package's programs or commands."""
        return self.program in PARSERS

    @property
    def is_of_script(self) -> bool:
        """Whether it trains or tests, with the scripts' flags."""
        return self.program in OF_SCRIPTS

    def parse(self) -> Namespace:
        """Its parsed flags; raises UserError if the script would refuse them."""
        return PARSERS[self.program](self.words)

    def __str__(self) -> str:
        return " ".join([self.launcher, self.program, *self.words]).strip()


def commands_in(shell: str) -> list[Command]:
    """The commands of a shell text: continued lines joined, without comments, split at `&&`."""
    found = []
    for line in shell.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            found.append(_command(words[:end]))
            words = words[end + 1 :]
    return found


def _command(words: list[str]) -> Command:
    if ONE_COMMAND in words[:-1]:  # "ke-t5 train" is one program
        place = words.index(ONE_COMMAND)
        words = [*words[:place], " ".join(words[place : place + 2]), *words[place + 2 :]]
    for program in PARSERS:
        if program in words:
            place = words.index(program)
            launcher = " ".join(words[:place])
            launchers = SCRIPT_LAUNCHERS if program in ENTRY_POINTS else ENTRY_POINT_LAUNCHERS
            assert any(re.fullmatch(known, launcher) for known in launchers), launcher
            return Command(launcher, program, tuple(words[place + 1 :]))
    return Command("", words[0], tuple(words[1:]))


def check_names(flags: Namespace) -> None:
    """Raises UserError if the task or model is unknown, or they do not fit each other."""
    register_kinds()
    for task in SUITES.get(flags.task, (flags.task,)):
        forms = get_task(task).forms
        name = flags.model_name or default_model_name(forms[0])
        check_model_name(name)
        check_form(load_model(name), *forms)
