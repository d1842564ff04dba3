"""Spares a forward pass on a GPU the question whether anything is masked.

To leave out the mask of a batch without padding, transformers asks the GPU for the mask's values,
and the host waits until all work before is done. The host has made the mask, and knows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ke_t5.pipe.model_outputs import Arrays

MASK = "attention_mask"
# Whose models pass the mask on as they get it.
KNOWN = ("transformers.", "ke_t5.")


class _Known:
    """What is known of the mask of the forward pass that is being made."""

    shape: tuple[int, ...] | None = None
    may_be_left_out = False


@contextmanager
def known_mask(model: torch.nn.Module, columns: Arrays, device: torch.device) -> Iterator[None]:
    """A context for a forward pass with these columns in which no attention asks a GPU whether
    `attention_mask` is all ones: it is left out if it is, else it is always made."""
    mask = columns.get(MASK)
    if device.type == "cpu" or mask is None or mask.ndim != 2:
        yield
        return
    _install()
    is_full = bool(mask.all()) and type(model).__module__.startswith(KNOWN)
    _Known.shape, _Known.may_be_left_out = mask.shape, is_full
    try:
        yield
    finally:
        _Known.shape = None


@functools.cache
def _install() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as FUNCTIONS

    for name in ("sdpa", "eager"):
        type(FUNCTIONS).register(name, _answered(FUNCTIONS[name]))


def _answered(function: Any) -> Any:
    """A function of transformers that makes masks, with the host's answer."""

    @functools.wraps(function)
    def make(*args: Any, **options: Any) -> Any:
        mask = options.get(MASK)
        if options.get("allow_is_bidirectional_skip") and mask is not None:
            if tuple(mask.shape) == _Known.shape:
                if _Known.may_be_left_out:
                    options[MASK] = None
                else:
                    options["allow_is_bidirectional_skip"] = False
        return function(*args, **options)

    return make
