"""Tests a model on a Korean task: `python test_ddp.py --help`."""

from ke_t5.cli import test

if __name__ == "__main__":
    test()
