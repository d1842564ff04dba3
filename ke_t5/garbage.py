"""How often Python looks for garbage in cycles.

While libraries are imported the heap grows and nothing in it is garbage: looking takes a tenth of
the time until a model is there.
"""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_RARE = (100_000, 10, 10)


def collect_rarely() -> None:
    """For the start of a program; memory stays bounded."""
    gc.set_threshold(*_RARE)


def collect_as_usual() -> None:
    """For what comes after the start."""
    gc.set_threshold(*_USUAL)
