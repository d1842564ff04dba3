"""`ke-t5 sweep`: a training with other settings each time."""

from __future__ import annotations

import itertools
from argparse import Namespace
from typing import Any

from ke_t5.commands.arguments import Parser, typed
from ke_t5.config.flags import parse_train, whole

DESCRIPTION = """Trains with each combination of settings, or with those that optuna chooses.

usage: ke-t5 sweep "AdamW.lr=[1e-5,3e-5]" "batch_size=[16,32]" [flags of ke-t5 train]
       ke-t5 sweep "AdamW.lr=log(1e-5,1e-3)" --trials 20 [flags of ke-t5 train]

A setting is a gin binding or a flag of the training: a list, or log(LOW,HIGH),
uniform(LOW,HIGH), int(LOW,HIGH) with --trials. After a stop the same command goes on."""


class SweepParser(Parser):
    """The parser of settings, the sweep's own flags, and a training's."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """`axes`, `trials`, `words` of a training and, read, `training`."""
        axes = list(itertools.takewhile(lambda word: not word.startswith("-"), args or []))
        own, rest = self.parse_known_args(list(args or [])[len(axes) :], namespace)
        words = [*rest, *(["--debug"] if own.debug else [])]
        training = parse_train(words, launches=True)
        return Namespace(axes=axes, trials=own.trials, words=words, training=training)


def parser() -> Parser:
    """The parser of its words."""
    words = SweepParser("sweep", DESCRIPTION)
    words.add_argument("--trials", metavar="N", type=typed(whole(1)), help="chosen by optuna")
    return words


def main(flags: Namespace) -> None:
    """Runs the sweep."""
    from ke_t5.experiments import sweep

    sweep.main(flags)
