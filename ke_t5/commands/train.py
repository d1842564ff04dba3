"""`ke-t5 train`: the same as `train_ddp.py`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import ScriptParser
from ke_t5.config.flags import parse_train
from ke_t5.programs import SUITES, TRAIN


def parser() -> ArgumentParser:
    """The parser of the command line."""
    return ScriptParser(TRAIN, parse_train)


def main(flags: Namespace) -> None:
    """Trains a model, or several with `--seeds` or a suite of tasks."""
    if flags.task in SUITES:
        from ke_t5.experiments import suite

        suite.main(flags)
        return
    if flags.seeds is not None:
        from ke_t5.experiments import seeds

        seeds.main(flags)
        return
    from ke_t5.recipes import train

    train.main(flags)
