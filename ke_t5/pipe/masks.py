"""Attention masks are skipped without asking the GPU whether they mask anything.

To skip the mask of a batch without padding, transformers reads its values from the GPU, which makes
the host wait for all queued work. The host made the mask and knows the answer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ke_t5.pipe.model_outputs import Arrays

MASK = "attention_mask"
# Packages whose models pass the mask on unchanged.
KNOWN = ("transformers.", "ke_t5.")


class _Known:
    """The mask of the current forward pass."""

    shape: tuple[int, ...] | None = None
    may_be_left_out = False


@contextmanager
def known_mask(model: torch.nn.Module, columns: Arrays, device: torch.device) -> Iterator[None]:
    """A context for a forward pass with these columns, in which attention does not ask the GPU
    whether `attention_mask` is all ones: if it is, it is skipped; otherwise it is always made."""
    mask = columns.get(MASK)
    if device.type == "cpu" or mask is None or mask.ndim < 2:
        yield
        return
    _install()
    is_full = bool(mask.all()) and type(model).__module__.startswith(KNOWN)
    # Choices and windows are rows of the encoder's batch.
    _Known.shape, _Known.may_be_left_out = mask.reshape(-1, mask.shape[-1]).shape, is_full
    try:
        yield
    finally:
        _Known.shape = None


@functools.cache
def _install() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as FUNCTIONS

    for name in ("sdpa", "eager"):
        type(FUNCTIONS).register(name, _answered(FUNCTIONS[name], name))


def _answered(function: Any, name: str) -> Any:
    """A mask function of transformers that uses the host's answer, even while a CUDA graph is
    recorded, when transformers would skip no mask."""

    @functools.wraps(function)
    def make(*args: Any, **options: Any) -> Any:
        if _Known.shape is None:
            return function(*args, **options)
        mask = options.get(MASK)
        is_known = mask is not None and tuple(mask.shape) == _Known.shape
        may_skip = mask is None or (is_known and _Known.may_be_left_out)
        if options.get("allow_is_bidirectional_skip") and (is_known or mask is None):
            if may_skip and _is_whole(options):
                return None
            options["allow_is_bidirectional_skip"] = False
        if options.get("allow_is_causal_skip") and name == "sdpa":
            if may_skip and _is_whole(options, is_causal=True):
                return None
            options["allow_is_causal_skip"] = False
        return function(*args, **options)

    return make


def _is_whole(options: Mapping[str, Any], *, is_causal: bool = False) -> bool:
    """Whether every token can attend to every other, or to every earlier one if `is_causal`."""
    if is_causal and options.get("q_length") != options["kv_length"]:
        return False
    local = options.get("local_size")
    return local is None or options["kv_length"] < local
