"""`ke-t5 sweep`: searches for the best settings of a training."""

from __future__ import annotations

import itertools
from argparse import Namespace
from typing import Any

from ke_t5.commands.arguments import Parser, typed
from ke_t5.config.flags import parse_train, whole

DESCRIPTION = """Trains with every combination of settings, or with those that optuna chooses.

usage: ke-t5 sweep "AdamW.lr=[1e-5,3e-5]" "batch_size=[16,32]" [flags of ke-t5 train]
       ke-t5 sweep "AdamW.lr=log(1e-5,1e-3)" --trials 20 [flags of ke-t5 train]

A setting is a gin binding or a flag of the training with a list of values, or, with
--trials, log(LOW,HIGH), uniform(LOW,HIGH) or int(LOW,HIGH). If the sweep is stopped, run
the same command again to continue it."""


class SweepParser(Parser):
    """A parser of settings, the sweep's own flags, and the flags of a training."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """A namespace of `axes`, `trials`, the `words` of a training, and `training`, its flags."""
        axes = list(itertools.takewhile(lambda word: not word.startswith("-"), args or []))
        own, rest = self.parse_known_args(list(args or [])[len(axes) :], namespace)
        words = [*rest, *(["--debug"] if own.debug else [])]
        training = parse_train(words, launches=True)
        return Namespace(axes=axes, trials=own.trials, words=words, training=training)


def parser() -> Parser:
    """The parser of the command line."""
    words = SweepParser("sweep", DESCRIPTION)
    words.add_argument(
        "--trials", metavar="N", type=typed(whole(1)), help="number of trials chosen by optuna"
    )
    return words


def main(flags: Namespace) -> None:
    """Runs the sweep."""
    from ke_t5.experiments import sweep

    sweep.main(flags)
