"""Weights that are divided among the processes (`--parallel fsdp`), by PyTorch's `fully_shard`.

Each layer is gathered when it is needed, forward and backward, and dropped again; gradients and the
optimizer's state exist in shards only. So it is in evaluations, where each process calls the model
as often as its batches need. Of a checkpoint each process writes and reads its own part (see
`checkpoint.shard_files`); if not all see one disk, rank 0 gets one whole tensor after another.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ke_t5.frozen_weights import BASE, base_of, kept_state


class Sharded(nn.Module):
    """A model in shards, which stays of its own class in here."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **inputs: Any) -> Any:
        """The model's output."""
        return self.module(**inputs)


# The wrapper of each model in shards.
_WRAPPERS: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Sharded]] = weakref.WeakKeyDictionary()


class Outline(NamedTuple):
    """What a model is without its weights.

    Attributes:
        tensors: name, shape, type, whether it is trained, and the first name of the same tensor.
        base: the hash of the frozen weights that checkpoints leave out, if they do.
        drawn: names of the weights that were in no file; None if none was.
    """

    tensors: list[tuple[str, tuple[int, ...], torch.dtype, bool, str]]
    base: str | None
    drawn: frozenset[str] | None


def outline_of(module: nn.Module) -> Outline:
    """What a process needs to know of rank 0's model to build an empty one like it."""
    first: dict[int, str] = {}
    tensors = []
    for part_name, part in module.named_modules():
        for table, name, tensor in _tensors_of(part):
            path = f"{part_name}.{name}"
            owner = first.setdefault(id(tensor), path)
            is_trained = table is part._parameters and tensor.requires_grad
            tensors.append((path, tuple(tensor.shape), tensor.dtype, is_trained, owner))
    return Outline(tensors, base_of(module), getattr(module, "drawn_parameters", None))


def _tensors_of(part: nn.Module) -> list[tuple[dict[str, Any], str, Tensor]]:
    """(where it is, its name, the tensor) of all that is a module's own."""
    tables: tuple[dict[str, Any], ...] = (part._parameters, part._buffers, vars(part))
    return [(t, name, x) for t in tables for name, x in t.items() if isinstance(x, Tensor)]


def _fill(part: nn.Module, device: torch.device, filled: dict[int, tuple[Tensor, Tensor]]) -> None:
    """Brings rank 0's tensors of a part of a model to each process, which then has all of the part.

    Args:
        filled: by `id`, what has been brought (the empty one is kept, so that no other has its id).
    """
    for owner in part.modules():
        for table, name, tensor in _tensors_of(owner):
            if isinstance(tensor, DTensor):
                continue
            if id(tensor) not in filled:
                filled[id(tensor)] = tensor, _from_main(tensor, device)
            table[name] = filled[id(tensor)][1]


def _from_main(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor of rank 0 on this process's device; empty ones of other processes are filled."""
    made = torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.detach().to(device)
    made = made.contiguous()
    if made.numel():
        torch.distributed.broadcast(made.reshape(-1).view(torch.uint8), src=0)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made


def shard(module: nn.Module, device: torch.device, size: int) -> nn.Module:
    """The model with rank 0's weights divided among `size` processes, on the device: layer by
    layer, so that no device ever has all of them. Models of the other processes may be empty."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # T5's layers return views; nothing is added to them in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
    mesh = init_device_mesh(device.type, (size,))
    layers = _layers_of(module)
    filled: dict[int, tuple[Tensor, Tensor]] = {}
    for layer in layers:
        _fill(layer, device, filled)
        fully_shard(layer, mesh=mesh)
        filled.clear()
    _fill(module, device, filled)
    whole: Any = Sharded(module)
    fully_shard(whole, mesh=mesh)
    # Else the first layer to run would take itself for the outermost module.
    whole._get_fsdp_state()._lazy_init()
    _WRAPPERS[module] = weakref.ref(whole)
    return whole


def _layers_of(module: nn.Module) -> list[nn.Module]:
    """The parts that are gathered one after the other; none is within another one."""
    parts = list(module.modules())
    names = {name for part in parts for name in getattr(part, "_no_split_modules", None) or ()}
    layers = [part for part in parts if type(part).__name__ in names]
    inner = {one for layer in layers for one in layer.modules() if one is not layer}
    return [layer for layer in layers if layer not in inner]


def is_sharded(module: nn.Module) -> bool:
    """Whether the weights of a model are divided among the processes."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


@contextmanager
def gathered_weights(model: nn.Module) -> Iterator[None]:
    """A context in which each process has all weights of a sharded model, for what reads them
    itself; no forward pass waits for another process. Of another model nothing changes."""
    from torch.distributed.fsdp import FSDPModule

    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)


@contextmanager
def layers_in_turn(module: nn.Module, least: Callable[[int], int]) -> Iterator[None]:
    """A context in which each process calls a sharded model, or parts of it, as often as it likes.

    All processes have to gather the same layers in the same order. So before each layer they agree
    on the first one that any of them waits for, and those that do not need it help to gather it:
    a process whose generation has ended sooner, or that has no batch left, and those ahead, who
    wait for the others that way. What is in no layer, embeddings and heads, stays gathered.

    Args:
        least: tells each process the least number of all.
    """
    from torch.distributed.fsdp import FSDPModule

    wrapper: Any = _WRAPPERS[module]()
    layers = [part for part in module.modules() if isinstance(part, FSDPModule)]

    def help_until(number: int) -> None:
        while (first := least(number)) != number:
            layers[first].unshard()
            layers[first].reshard()

    hooks = [
        # Before that of PyTorch, which gathers the layer.
        cast(nn.Module, layer).register_forward_pre_hook(
            lambda *_, number=number: help_until(number), prepend=True
        )
        for number, layer in enumerate(layers)
    ]
    wrapper.unshard()
    try:
        yield
        help_until(len(layers))
    finally:
        for hook in hooks:
            hook.remove()
        wrapper.reshard()


def local(tensor: Tensor) -> Tensor:
    """This process's shard of a tensor; the tensor itself if it is not divided."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the shards of all processes, which have to call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, shards: Tensor) -> Tensor:
    """A tensor that is the same on each process, divided as another one is."""
    if not isinstance(shards, DTensor) or value.shape != shards.shape or isinstance(value, DTensor):
        return value
    value = value.to(local(shards).device)
    return distribute_tensor(value, shards.device_mesh, shards.placements, src_data_rank=None)


def load_shards(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Copies this process's part of each saved tensor into a sharded model."""
    named = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    with torch.no_grad():
        for name, tensor in saved.items():
            local(named[name]).copy_(local(like(tensor, named[name])))


def divided_state(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a checkpoint holds of a sharded model, tied weights once, and alias -> name for the
    others of each tie."""
    named = dict(module.named_parameters(remove_duplicate=False))
    tensors, aliases, first = {}, {}, {}
    for name, tensor in kept_state(module).items():
        owner: Tensor = named[name] if name in named else tensor
        if first.setdefault(id(owner), name) == name:
            tensors[name] = owner
        else:
            aliases[name] = first[id(owner)]
    return tensors, aliases


class _Gathered:
    """What a checkpoint asks of a model or an optimizer: its state."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def named_parameters(self, **options: Any) -> Iterator[tuple[str, Any]]:
        return iter(())  # none is frozen in what was gathered


def gathered_state(
    module: nn.Module, optimizer: torch.optim.Optimizer, *, is_main: bool
) -> tuple[Any, Any]:
    """The state of both as if they were not divided, in tensors of its own on rank 0's host; every
    process has to call it. Without shards, model and optimizer themselves."""
    if not is_sharded(module):
        return module, optimizer

    def gather(tensor: Tensor) -> Tensor:
        gathered = whole(tensor.detach())
        if not is_main:
            return gathered.new_empty(0)
        own, found = (x.untyped_storage().data_ptr() for x in (local(tensor), gathered))
        return gathered.to("cpu", copy=own == found)

    tensors, aliases = divided_state(module)
    found = {name: gather(tensor) for name, tensor in tensors.items()}
    model_state = {name: found[aliases.get(name, name)] for name in kept_state(module)}
    state = optimizer.state_dict()
    values = {
        number: {k: gather(v) if isinstance(v, Tensor) else v for k, v in entries.items()}
        for number, entries in state["state"].items()
    }
    # A checkpoint names the optimizer's class.
    kind = type(type(optimizer).__name__, (_Gathered,), {})
    model = _Gathered(model_state)
    setattr(model, BASE, base_of(module))
    return model, kind({**state, "state": values})
