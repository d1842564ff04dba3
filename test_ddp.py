"""Tests a model on a Korean task: `python test_ddp.py --help`."""

from __future__ import annotations

import sys

from ke_t5.failure import run_and_exit


def main() -> None:
    """Runs the recipe; nothing heavy is imported before the flags are right."""
    from ke_t5.recipes.test import main as test

    test(sys.argv[1:])


if __name__ == "__main__":
    run_and_exit(main, debug="--debug" in sys.argv)
