"""What `ke-t5-train` and `ke-t5-test` run, and in a clone `train_ddp.py` and `test_ddp.py`.

Nothing heavy is imported before the flags are right.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from ke_t5.config.flags import parse_test, parse_train, wants_traceback
from ke_t5.distributed import say, wait_passively
from ke_t5.errors import shortened
from ke_t5.failure import run_and_exit
from ke_t5.launchers import adopt_launcher
from ke_t5.rendezvous import post_fault, sign_in


def train() -> NoReturn:
    """Trains a model as the command line says, and ends the process."""
    _run(parse_train, _train)


def test() -> NoReturn:
    """Tests a model as the command line says, and ends the process."""
    _run(parse_test, _test)


def _run(
    parse: Callable[[Sequence[str]], Namespace], recipe: Callable[[Namespace], None]
) -> NoReturn:
    words = sys.argv[1:]
    main = partial(_main, words, parse, recipe)
    run_and_exit(main, debug=wants_traceback(words), post_fault=post_fault)


def _main(
    words: Sequence[str],
    parse: Callable[[Sequence[str]], Namespace],
    recipe: Callable[[Namespace], None],
) -> None:
    adopt_launcher()
    sign_in()
    flags = parse(words)
    wait_passively()
    say(shortened(f"{flags.task}: reading settings and data"))
    recipe(flags)


def _train(flags: Namespace) -> None:
    from ke_t5.recipes.train import main

    main(flags)


def _test(flags: Namespace) -> None:
    from ke_t5.recipes.test import main

    main(flags)
