"""Trains a model on a Korean task: `python train_ddp.py --help`."""

from __future__ import annotations

import sys

from ke_t5.config.flags import parse_train, wants_traceback
from ke_t5.distributed import say, wait_passively
from ke_t5.failure import run_and_exit
from ke_t5.launchers import adopt_launcher
from ke_t5.rendezvous import post_fault


def main() -> None:
    """Runs the recipe; nothing heavy is imported before the flags are right."""
    adopt_launcher()
    flags = parse_train(sys.argv[1:])
    wait_passively()
    say(f"{flags.task}: reading settings and data")
    from ke_t5.recipes.train import main as train

    train(flags)


if __name__ == "__main__":
    run_and_exit(main, debug=wants_traceback(sys.argv[1:]), post_fault=post_fault)
