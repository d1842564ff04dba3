"""`ke-t5 test`: what `test_ddp.py` does, with its flags."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import ScriptParser
from ke_t5.config.flags import parse_test
from ke_t5.errors import UserError
from ke_t5.programs import SUITES, TEST


def parser() -> ArgumentParser:
    """The parser of its words."""
    return ScriptParser(TEST, parse_test)


def main(flags: Namespace) -> None:
    """Tests a model.

    Raises:
        UserError: a suite of tasks, which has a model for each of them.
    """
    if flags.task in SUITES:
        tasks = ", ".join(SUITES[flags.task])
        fix = "test one of them; training the suite tests each"
        raise UserError(f"a suite: {tasks}", f"--task {flags.task}", fix)
    from ke_t5.recipes import test

    test.main(flags)
