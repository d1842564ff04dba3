"""Kept embedding gradients are bit-identical to torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from support.processes import run_on_ranks
from torch import nn
from torch.nn.utils import clip_grad_norm_

from ke_t5 import shared_memory
from ke_t5.models import kept_gradients
from ke_t5.models.kept_gradients import KeptGradients
from ke_t5.train.averages import average_gradients, averaged_weights

# Two parts per batch; 1 is the first embedding's padding, and 7 occurs in both parts.
STEPS = (((3, 7, 7, 1), (7, 2, 9, 3)), ((4, 4, 4, 4), (1, 1, 1, 1)), ((7, 0, 5, 6), (8, 8, 2, 7)))


class Reader(nn.Module):
    """A model with two embeddings: one whose weight may have another use, and one that is read
    twice."""

    def __init__(self, *, reads_weight):
        super().__init__()
        self.first, self.second = nn.Embedding(10, 8, padding_idx=1), nn.Embedding(10, 8)
        self.out, self.reads_weight = nn.Linear(8, 3), reads_weight

    def forward(self, ids):
        states = self.first(ids) * torch.tanh(self.second(ids)) + self.second(ids.flip(0))
        extra = self.first.weight.square().sum() if self.reads_weight else 0
        return self.out(states).square().sum() + extra


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    monkeypatch.setattr(kept_gradients, "LARGE", 1)


def trained(model, max_norm, gradients=None):
    """Trains the model; returns the gradients of each step before its update, and the norms."""
    optimizer, found = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True), []
    for parts in STEPS:
        optimizer.zero_grad(set_to_none=True)
        for ids in map(torch.tensor, parts):
            if gradients is None:
                model(ids).backward()
            else:
                with gradients.kept():
                    model(ids).backward()
        if gradients is None:
            norm = clip_grad_norm_(model.parameters(), max_norm, foreach=True)
        else:
            norm = gradients.clip(max_norm)
        found += [norm, *(one.grad.clone() for one in model.parameters())]
        optimizer.step()
    return found


@pytest.mark.parametrize("reads_weight", [False, True])
@pytest.mark.parametrize("max_norm", [0.1, 1e6, float("inf")])
def test_gradients_and_weights_are_those_of_torch(reads_weight, max_norm):
    torch.manual_seed(0)
    ours = Reader(reads_weight=reads_weight)
    theirs = copy.deepcopy(ours)
    expected = trained(theirs, max_norm)
    found = trained(ours, max_norm, KeptGradients(ours))
    assert all(map(torch.equal, found, expected)) and len(found) == len(expected)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert not any("forward" in vars(part) for part in ours.modules())


def test_only_rows_of_tokens_are_written():
    model = Reader(reads_weight=False)
    gradients, memory = KeptGradients(model), set()
    for ids, expected in (([3, 7], [3, 7]), ([2, 7], [0, 2, 7])):
        model.zero_grad(set_to_none=True)
        with gradients.kept():
            model(torch.tensor(ids)).backward()
        gradient = model.first.weight.grad
        assert gradient.any(dim=1).nonzero().flatten().tolist() == expected
        memory.add(gradient.data_ptr())
        gradient[0] = 1  # a row without a token: unchanged
    assert len(memory) == 1


def test_a_gradient_that_is_not_a_number_stays_so():
    model = Reader(reads_weight=False)
    gradients = KeptGradients(model)
    with gradients.kept():
        (model(torch.tensor([3, 7])) * torch.nan).backward()
    assert gradients.clip(1.0).isnan()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda model: None, 2),
        (lambda model: setattr(model.first, "max_norm", 1.0), 1),
        (lambda model: setattr(model.first, "scale_grad_by_freq", True), 1),
        (lambda model: setattr(model.first, "sparse", True), 1),
        (lambda model: model.first.weight.requires_grad_(False), 1),
        (lambda model: setattr(model.first, "forward", lambda ids: ids), 1),
        (lambda model: setattr(model.out, "weight", model.first.weight), 1),
        (lambda model: setattr(model.second, "weight", model.first.weight), 1),
    ],
)
def test_embeddings_that_do_more_are_left_to_torch(change, expected):
    model = Reader(reads_weight=False)
    change(model)
    assert len(KeptGradients(model)._of) == expected


def test_an_embedding_that_is_small_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(kept_gradients, "LARGE", 81)
    assert KeptGradients(Reader(reads_weight=False))._of == {}


def exchanged(ranks, reads_weight, folder):
    """The first embedding's mean gradient of each step, and the same by one process."""
    shared_memory.FOLDER = folder
    kept_gradients.LARGE = 1  # of this process
    torch.manual_seed(ranks.rank)
    model = Reader(reads_weight=reads_weight)
    gradients = KeptGradients(model)
    wrapped = ranks.wrap(model, find_unused_parameters=False, apart=gradients.apart)
    whole, found = copy.deepcopy(model), []
    for step, parts in enumerate(STEPS):
        for one in (wrapped, whole):
            one.zero_grad(set_to_none=True)
        with gradients.kept():
            wrapped(torch.tensor(parts[ranks.rank])).backward()
        if step == 1 and ranks.rank == 1:
            model.first.weight.grad = None
        gradients.exchange(ranks)
        if ranks.averages_gradients:
            average_gradients(averaged_weights(model, gradients), ranks)
        for rank, ids in enumerate(map(torch.tensor, parts)):
            if step == 1 and rank == 1:
                before = whole.first.weight.grad.clone()
            (whole(ids) / 2).backward()
            if step == 1 and rank == 1:
                whole.first.weight.grad = before
        names = [name for name, one in model.named_parameters() if one.grad is not None]
        assert len(names) == 4
        rows = gradients.of(model.first.weight).rows
        found.append([
            None if rows is None else rows.tolist(),
            *(
                (one.grad - other.grad).abs().max().item()
                for one, other in zip(model.parameters(), whole.parameters(), strict=True)
            ),
        ])  # fmt: skip
    return found


@pytest.mark.parametrize("reads_weight", [False, True])
@pytest.mark.parametrize("folder", ["", "missing"])
def test_processes_exchange_the_rows_of_their_tokens(tmp_path, reads_weight, folder):
    """With shared memory, and by DistributedDataParallel."""
    by_rank = run_on_ranks(exchanged, 2, reads_weight, tmp_path / folder)
    assert by_rank[0] == by_rank[1]
    for (rows, *differences), parts in zip(by_rank[0], STEPS, strict=True):
        tokens = sorted({*parts[0], *parts[1]} - {1})  # the padding
        assert rows == (None if reads_weight else tokens)
        assert max(differences) < 1e-6
