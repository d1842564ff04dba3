"""Training only the rows of an embedding whose tokens occur in the training data.

A multilingual vocabulary has 250,000 tokens, of which a Korean data set uses a small part. The
other rows get no gradient: AdamW changes them by weight decay only, yet computes them in every
step, and keeps a gradient and two averages for each. Here the used rows are a parameter of their
own, and the decay of the others is applied when the whole table is read. The weights are those of a
training of all rows; only the norm of the gradient may be rounded differently.

Shape letters: V rows of the table, U used rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from ke_t5.module_state import forget_module_state

# Embeddings of transformers that scale their vectors by `embed_scale`.
SCALED = ("BartScaledWordEmbedding", "MBartScaledWordEmbedding")
# Weights decayed at once: small enough for a CPU's cache.
DECAYED_AT_ONCE = 1 << 17


class UsedRows:
    """The input embedding of a model, split into rows that are trained and others.

    The model is unchanged until `split`.

    Args:
        model: on its device.
        rows: [U] the used rows, ascending.

    Attributes:
        table: [V, D] all rows, up to date after `refreshed`.
        weight: [U, D] the used rows.
        rows: [U]; places: [V] the place of each row in `weight`, at least U if it is not used;
            place_of: the same by row, on the host.

    Raises:
        ValueError("reason"): this model is not supported.
    """

    def __init__(self, model: nn.Module, rows: np.ndarray) -> None:
        whole = input_embedding(model)
        self.model, self.whole = model, whole.weight
        self.table = whole.weight.detach()
        # A place beyond the end for a row that is not used.
        places = np.full(len(self.table), len(rows))
        places[rows] = np.arange(len(rows))
        self.place_of = dict(zip(rows.tolist(), range(len(rows)), strict=True))
        self.rows, self.places = (
            torch.tensor(numbers, device=self.table.device) for numbers in (rows, places)
        )
        self.weight = nn.Parameter(self.table[self.rows])
        self._decays: list[float] = []
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []

    def knows(self, ids: Tensor) -> bool:
        """Whether all of these rows are used."""
        return bool((self.places[ids] < len(self.rows)).all())

    @contextmanager
    def lookups(self, found: Callable[[Tensor], object]) -> Iterator[None]:
        """A context in which `found` is called with the ids of each lookup; before `split`."""
        parts = [part for part in self.model.modules() if getattr(part, "weight", 0) is self.whole]

        def hook(_: nn.Module, inputs: tuple, named: dict[str, Any]) -> None:
            found(inputs[0] if inputs else named["input"])

        handles = [part.register_forward_pre_hook(hook, with_kwargs=True) for part in parts]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def split(self) -> None:
        """Makes the used rows the parameter that the model trains."""
        for parent in list(self.model.modules()):
            for name, part in list(parent._modules.items()):
                if isinstance(part, nn.Embedding) and part.weight is self.whole:
                    self._replaced.append((parent, name, part))
                    setattr(parent, name, UsedEmbedding(part, self))
        vars(self.weight)["used_rows"] = self
        forget_module_state(self.model)

    def restore(self) -> None:
        """Gives the model back its own embedding, with the trained weights."""
        self.refreshed()
        for parent, name, part in self._replaced:
            setattr(parent, name, part)
        self._replaced = []
        forget_module_state(self.model)

    def decay(self, optimizer: torch.optim.Optimizer) -> None:
        """Records the weight decay of an update for the rows that are not used."""
        for group in optimizer.param_groups:
            if group["weight_decay"] and any(one is self.weight for one in group["params"]):
                self._decays.append(1 - group["lr"] * group["weight_decay"])

    @torch.no_grad()
    def refreshed(self) -> Tensor:
        """The table with the current weights."""
        decays, self._decays = self._decays, []
        size = len(self.table)
        if self.table.device.type == "cpu":
            size = max(1, DECAYED_AT_ONCE // self.table.shape[1])
        for some in self.table.split(size) if decays else ():
            for factor in decays:  # one by one, so that the rounding does not depend on the calls
                some.mul_(factor)
        return self.table.index_copy_(0, self.rows, self.weight)

    @torch.no_grad()
    def load(self, table: Tensor) -> None:
        """Replaces all rows."""
        self._decays = []
        self.table.copy_(table)
        self.weight.copy_(self.table[self.rows])

    def scatter(self, values: Tensor) -> Tensor:
        """[V, D] on the CPU: values [U, D] of the used rows, and zeros for the others."""
        scattered = torch.zeros(self.table.shape, dtype=values.dtype)
        return scattered.index_copy_(0, self.rows.cpu(), values.detach().cpu())

    def gather(self, values: Tensor) -> Tensor:
        """[U, D]: the values of the used rows, from those of all rows [V, D]."""
        return values[self.rows.to(values.device)]


class UsedEmbedding(nn.Embedding):
    """[..., D]: an embedding whose `weight` has the used rows [U, D] only.

    In training it knows no other rows; in evaluation mode it looks up the whole table, which is
    also its state.
    """

    def __init__(self, whole: nn.Embedding, used: UsedRows) -> None:
        padding = None if whole.padding_idx is None else used.place_of.get(whole.padding_idx)
        super().__init__(*used.weight.shape, padding_idx=padding, _weight=used.weight)
        self.weight, self.used = used.weight, used
        self.embed_scale = getattr(whole, "embed_scale", None)
        self.train(whole.training)

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            vectors = super().forward(self.used.places[input])
        else:
            vectors = embedding(input, self.used.table)
        return vectors if self.embed_scale is None else vectors * self.embed_scale

    def train(self, mode: bool = True) -> UsedEmbedding:
        """Changes the mode; brings the table up to date for evaluation."""
        if not mode:
            self.used.refreshed()
        return cast(UsedEmbedding, super().train(mode))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.used.refreshed()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, metadata: Any, strict: bool,
        missing_keys: list[str], *others: Any,
    ) -> None:  # fmt: skip
        name = f"{prefix}weight"
        if name in state_dict:
            self.used.load(state_dict[name])
        elif strict:
            missing_keys.append(name)


def input_embedding(model: nn.Module) -> nn.Embedding:
    """The input embedding of a model.

    Raises:
        ValueError("reason"): it is frozen, of no supported class, or shared with a layer that is
            not an embedding.
    """
    find: Any = getattr(model, "get_input_embeddings", None)
    try:
        whole = None if find is None else find()
    except NotImplementedError:
        whole = None
    if whole is None or not is_lookup(whole):
        raise ValueError("its input embedding is of no supported class")
    if not whole.weight.requires_grad:
        raise ValueError("its input embedding is not trained")
    for part in model.modules():
        if any(one is whole.weight for one in part.parameters(recurse=False)):
            if not is_lookup(part):
                raise ValueError("its output layer uses the weights of the input embedding")
    return whole


def is_lookup(part: nn.Module) -> bool:
    """Whether a module is an embedding that looks up vectors, and at most scales them."""
    if type(part) is not nn.Embedding and type(part).__name__ not in SCALED:
        return False
    if not isinstance(part, nn.Embedding):
        return False
    return part.max_norm is None and not part.scale_grad_by_freq and not part.sparse


@contextmanager
def lookups_in_training(model: nn.Module) -> Iterator[None]:
    """A context in which split embeddings look up the used rows, whatever the model's mode."""
    parts = [part for part in model.modules() if isinstance(part, UsedEmbedding)]
    modes = [part.training for part in parts]
    for part in parts:
        part.training = True
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def used_rows_of(parameter: Tensor) -> UsedRows | None:
    """The split that a parameter [U, D] belongs to; None for any other parameter."""
    return vars(parameter).get("used_rows")


def find_used_rows(model: nn.Module) -> UsedRows | None:
    """The split of a model's input embedding; None if all of its rows are trained."""
    found = (used_rows_of(parameter) for parameter in model.parameters())
    return next((used for used in found if used is not None), None)
