"""The commands that the documentation gives, as words, without the launcher in front of them."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from dataclasses import dataclass

from ke_t5.config.flags import TEST, TRAIN, parse_test, parse_train
from ke_t5.lookup.loader import check_form, check_model_name, default_model_name, load_model
from ke_t5.pipe import get_task
from ke_t5.programs import ENTRY_POINTS

PARSERS = {
    TRAIN: parse_train,
    TEST: parse_test,
    ENTRY_POINTS[TRAIN]: parse_train,
    ENTRY_POINTS[TEST]: parse_test,
}
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
        """Whether it runs one of the two programs."""
        return self.program in PARSERS

    def parse(self) -> Namespace:
        """Its flags; a UserError where the script would refuse them."""
        return PARSERS[self.program](self.words)

    def __str__(self) -> str:
        return " ".join([self.launcher, self.program, *self.words]).strip()


def commands_in(shell: str) -> list[Command]:
    """The commands of a shell text: continued lines joined, comments left out, cut at `&&`."""
    found = []
    for line in shell.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            found.append(_command(words[:end]))
            words = words[end + 1 :]
    return found


def _command(words: list[str]) -> Command:
    for program in PARSERS:
        if program in words:
            place = words.index(program)
            launcher = " ".join(words[:place])
            launchers = SCRIPT_LAUNCHERS if program in ENTRY_POINTS else ENTRY_POINT_LAUNCHERS
            assert any(re.fullmatch(known, launcher) for known in launchers), launcher
            return Command(launcher, program, tuple(words[place + 1 :]))
    return Command("", words[0], tuple(words[1:]))


def check_names(flags: Namespace) -> None:
    """Raises UserError where the task or the model is unknown, or they do not fit each other."""
    forms = get_task(flags.task).forms
    name = flags.model_name or default_model_name(forms[0])
    check_model_name(name)
    check_form(load_model(name), *forms)
