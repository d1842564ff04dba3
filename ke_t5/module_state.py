"""Resetting what a forward pass changes in a model besides its weights.

Some models change themselves: BigBird permanently replaces its sparse attention at the first short
batch, and dynamic rotary embeddings grow with the longest input so far. Checkpoints contain only
weights, so a resumed run would differ from an uninterrupted one.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PLAIN = (bool, int, float, str, type(None))
# Not reset: set by `train()` and `eval()`, and by wrappers for several processes.
FREE = {"training"}

_INITIAL: weakref.WeakKeyDictionary[torch.nn.Module, list] = weakref.WeakKeyDictionary()


def reset_module_state(model: torch.nn.Module) -> bool:
    """Restores submodules, plain attributes and unsaved buffers to their state at the first call;
    returns whether any had changed.

    Call it before every forward pass whose result must not depend on earlier ones; the first call
    must precede them all. Weights, saved buffers and modes are left as they are.
    """
    if model not in _INITIAL:
        _INITIAL[model] = [_state_of(module) for module in model.modules()]
        return False
    has_changed = False
    for module_ref, plain, children, buffers in _INITIAL[model]:
        module = module_ref()
        if module is None:
            continue
        attributes = module.__dict__
        for name, value in plain.items():
            if attributes.get(name) is not value:
                attributes[name], has_changed = value, True
        for name, child in children.items():
            if module._modules.get(name) is not child:
                child.train(module.training)
                module._modules[name], has_changed = child, True
        for name, buffer in buffers.items():
            now = module._buffers.get(name)
            # A buffer on another device was moved by the caller, not changed by a pass.
            if now is not buffer and (now is None or now.device == buffer.device):
                module._buffers[name], has_changed = buffer, True
    return has_changed


def forget_module_state(model: torch.nn.Module) -> None:
    """Makes the next `reset_module_state` the first call; for a caller that has changed the
    model on purpose."""
    _INITIAL.pop(model, None)


def _state_of(module: torch.nn.Module) -> tuple[Any, dict, dict, dict]:
    plain = {
        name: value
        for name, value in module.__dict__.items()
        if name not in FREE and isinstance(value, PLAIN)
    }
    unsaved = module._non_persistent_buffers_set
    buffers = {name: module._buffers[name] for name in unsaved if module._buffers[name] is not None}
    # Strong references to children restore replaced ones; the one to the model must be weak.
    return weakref.ref(module), plain, dict(module._modules), buffers
