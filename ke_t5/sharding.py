"""Weights sharded over the processes (`--parallel fsdp`) by PyTorch's `fully_shard`.

Each layer is gathered when it is needed, forward and backward, and freed again; gradients and
optimizer state exist as shards only. The same holds in evaluations, where each process calls the
model as often as its batches need. Each process writes and reads its own part of a checkpoint (see
`checkpoint.shard_files`); if they do not share a disk, rank 0 gathers one tensor after another.
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
    """The wrapper of a sharded model: `fully_shard` changes its class instead of the model's."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **inputs: Any) -> Any:
        """The model's output."""
        return self.module(**inputs)


# Sharded model -> its wrapper.
_WRAPPERS: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Sharded]] = weakref.WeakKeyDictionary()


class Outline(NamedTuple):
    """The structure of a model without its weights.

    Attributes:
        tensors: name, shape, type, whether it is trained, and the first name of the same tensor.
        base: the hash of the frozen weights that checkpoints leave out, if any.
        drawn: names of randomly initialized weights, which were in no file; None if all were.
    """

    tensors: list[tuple[str, tuple[int, ...], torch.dtype, bool, str]]
    base: str | None
    drawn: frozenset[str] | None


def outline_of(module: nn.Module) -> Outline:
    """What the other processes need to build an empty model like rank 0's."""
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
    """(dict that contains it, name, tensor) for each tensor of the module itself."""
    tables: tuple[dict[str, Any], ...] = (part._parameters, part._buffers, vars(part))
    return [(t, name, x) for t in tables for name, x in t.items() if isinstance(x, Tensor)]


def _fill(part: nn.Module, device: torch.device, filled: dict[int, tuple[Tensor, Tensor]]) -> None:
    """Sends rank 0's tensors of a part of a model to each process, which then has all of the part.

    Args:
        filled: id -> (old tensor, new one) of those sent; the old one is kept, and so its id.
    """
    for owner in part.modules():
        for table, name, tensor in _tensors_of(owner):
            if isinstance(tensor, DTensor):
                continue
            if id(tensor) not in filled:
                filled[id(tensor)] = tensor, _from_main(tensor, device)
            table[name] = filled[id(tensor)][1]


def _from_main(tensor: Tensor, device: torch.device) -> Tensor:
    """Rank 0's tensor on this process's device."""
    made = torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.detach().to(device)
    made = made.contiguous()
    if made.numel():
        torch.distributed.broadcast(made.reshape(-1).view(torch.uint8), src=0)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made


def shard(module: nn.Module, device: torch.device, size: int) -> nn.Module:
    """The model with rank 0's weights sharded over `size` processes, layer by layer, so that no
    device ever has all of them. The models of the other processes may be empty."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # T5's layers return views, which are never changed in place.
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
    # Otherwise the first layer to run would become the root module.
    whole._get_fsdp_state()._lazy_init()
    _WRAPPERS[module] = weakref.ref(whole)
    return whole


def _layers_of(module: nn.Module) -> list[nn.Module]:
    """The submodules that are gathered one at a time; none contains another."""
    parts = list(module.modules())
    names = {name for part in parts for name in getattr(part, "_no_split_modules", None) or ()}
    layers = [part for part in parts if type(part).__name__ in names]
    inner = {one for layer in layers for one in layer.modules() if one is not layer}
    return [layer for layer in layers if layer not in inner]


def is_sharded(module: nn.Module) -> bool:
    """Whether the weights of a model are sharded over the processes."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


@contextmanager
def gathered_weights(model: nn.Module) -> Iterator[None]:
    """A context in which each process has all weights of a sharded model, for code that reads them
    itself; forward passes wait for no other process. No effect on other models."""
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
    """A context in which each process may call a sharded model, or parts of it, at any time.

    All processes have to gather the same layers in the same order. So before each layer they agree
    on the first one that any of them needs, and the others help to gather it: those whose
    generation ended early, those without a batch, and those ahead, which wait that way. Weights
    outside of layers, such as embeddings and heads, stay gathered.

    Args:
        least: returns the minimum of the processes' numbers.
    """
    from torch.distributed.fsdp import FSDPModule

    wrapper: Any = _WRAPPERS[module]()
    layers = [part for part in module.modules() if isinstance(part, FSDPModule)]

    def help_until(number: int) -> None:
        while (first := least(number)) != number:
            layers[first].unshard()
            layers[first].reshard()

    hooks = [
        # Runs before PyTorch's hook, which gathers the layer.
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
    """This process's shard of a tensor; the tensor itself if it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The full tensor, gathered from the shards of all processes, which must all call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, shards: Tensor) -> Tensor:
    """A tensor that each process has in full, sharded like another one."""
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
    """The tensors that a checkpoint has of a sharded model, tied ones once, and alias -> name for
    the other names."""
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
    """Stands in for a model or an optimizer when a checkpoint is saved."""

    param_groups = ()  # none of the parameters that were gathered is `UsedRows`

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def named_parameters(self, **options: Any) -> Iterator[tuple[str, Any]]:
        return iter(())  # none is frozen in what was gathered


def gathered_state(
    module: nn.Module, optimizer: torch.optim.Optimizer, *, is_main: bool
) -> tuple[Any, Any]:
    """Stand-ins for both with the full state, in tensors of their own on rank 0's host; all
    processes must call this. Model and optimizer themselves if they are not sharded."""
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
