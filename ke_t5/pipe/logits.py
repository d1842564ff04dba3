"""Detection of non-finite logits during an evaluation.

torch is imported inside the functions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def watched_logits(model: torch.nn.Module) -> Iterator[Callable[[], bool]]:
    """A context in which every forward pass is watched; yields a function that returns whether all
    logits since its last call in the same thread were valid.

    NaN and +inf are invalid; -inf is valid, as it excludes a class. Only calls of the function wait
    for the device. A model with a CRF returns tags, so its emission layers are watched too.
    """
    import torch

    of_thread = threading.local()

    def note(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        for tensor in _logits_in(output):
            if torch.is_tensor(tensor) and tensor.is_floating_point() and tensor.numel():
                # The maximum is NaN if any logit is.
                vars(of_thread).setdefault("flags", []).append(tensor.amax() < torch.inf)

    def are_numbers() -> bool:
        noted = vars(of_thread).pop("flags", [])
        return not noted or bool(torch.stack(noted).all())

    layers = [child for child in model.children() if isinstance(child, torch.nn.Linear)]
    is_crf = getattr(model, "crf", None) is not None
    hooks = [module.register_forward_hook(note) for module in (model, *(layers if is_crf else ()))]
    try:
        yield are_numbers
    finally:
        for hook in hooks:
            hook.remove()


def _logits_in(output: Any) -> list[Any]:
    """The logits in a model's output, or the output of a layer."""
    if isinstance(output, Mapping):
        return [value for name, value in output.items() if str(name).endswith("logits")]
    return [output]
