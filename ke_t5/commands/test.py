"""`ke-t5 test`: what `test_ddp.py` does, with its flags."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import ScriptParser
from ke_t5.config.flags import parse_test
from ke_t5.programs import TEST


def parser() -> ArgumentParser:
    """The parser of its words."""
    return ScriptParser(TEST, parse_test)


def main(flags: Namespace) -> None:
    """Tests a model."""
    from ke_t5.recipes import test

    test.main(flags)
