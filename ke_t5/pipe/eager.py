"""Predictions run uncompiled: scores do not depend on `fit.compile`, and generation, in which each
step has another length, would recompile endlessly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether the model or a part of it is compiled."""
    return any(getattr(one, "_compiled_call_impl", None) is not None for one in model.modules())


@contextmanager
def eager(model: torch.nn.Module) -> Iterator[None]:
    """A context in which the model runs uncompiled."""
    if not is_compiled(model):  # importing the compiler takes a second
        yield
        return
    import torch

    with torch.compiler.set_stance("force_eager"):
        yield
