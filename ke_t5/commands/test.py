"""`ke-t5 test`: the same as `test_ddp.py`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import ScriptParser
from ke_t5.config.flags import parse_test
from ke_t5.errors import UserError
from ke_t5.programs import SUITES, TEST


def parser() -> ArgumentParser:
    """The parser of the command line."""
    return ScriptParser(TEST, parse_test)


def main(flags: Namespace) -> None:
    """Tests a model.

    Raises:
        UserError: the task is a suite, which has a model for each of its tasks.
    """
    if flags.task in SUITES:
        tasks = ", ".join(SUITES[flags.task])
        fix = "test one of them; training the suite tests each"
        raise UserError(f"a suite: {tasks}", f"--task {flags.task}", fix)
    from ke_t5.recipes import test

    test.main(flags)
