"""The models of `--parallel fsdp`: with weights on rank 0, the same without weights elsewhere."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.training import one_rank
from torch import nn

from ke_t5.config.run_config import ModelOrigin
from ke_t5.frozen_weights import base_of, leave_out_base
from ke_t5.recipes import modelling
from ke_t5.sharding import outline_of


@dataclass(frozen=True)
class Config:
    origin: ModelOrigin
    width: int = 3


class Ranks:
    """A process other than rank 0, which receives the outline of rank 0's model."""

    is_main = False

    def __init__(self, told: Any) -> None:
        self.told = told

    def broadcast(self, thing: Any) -> Any:
        assert thing is None
        return self.told


def body(width):
    model = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))
    model[0].requires_grad_(False)
    return model


@pytest.fixture
def built(monkeypatch):
    """The origins of the models that are built."""
    origins = []

    def make(config):
        origins.append(config.origin)
        return body(config.width)

    monkeypatch.setattr(modelling, "_built", make)
    monkeypatch.setattr(modelling, "_with_adapters", lambda config, model: model)
    monkeypatch.setattr(modelling, "build_model", lambda config, ranks: make(config))
    return origins


def test_rank_0_has_the_weights(built):
    config = Config(ModelOrigin("folder"))
    model = modelling.build_divided(config, one_rank())
    assert built == [config.origin]
    assert not any(one.is_meta for one in model.parameters())


def test_the_others_are_empty_and_know_the_base_and_what_was_drawn(built):
    main = body(3)
    main.drawn_parameters = frozenset({"1.weight"})
    leave_out_base(main)
    config = Config(ModelOrigin("folder", base="base"))
    model = modelling.build_divided(config, Ranks(outline_of(main)))
    assert all(one.is_meta for one in model.parameters())
    assert built == [ModelOrigin("folder", has_weights=False)]
    assert outline_of(model) == outline_of(main) and base_of(model) == base_of(main)


def test_a_model_that_cannot_be_built_empty_like_rank_0s_is_built_as_there(built):
    main = body(3)
    main[1].weight = nn.Parameter(torch.zeros(5, 3))  # as its files have it
    config = Config(ModelOrigin("folder"))
    model = modelling.build_divided(config, Ranks(outline_of(main)))
    assert built == [ModelOrigin("folder", has_weights=False), config.origin]
    assert not any(one.is_meta for one in model.parameters())


def test_what_is_said_of_a_model_is_not_said_again_for_its_export(monkeypatch, caplog):
    def build(config, ranks):
        modelling.logger.info("LoRA of rank 8")
        return ranks.device

    monkeypatch.setattr(modelling, "build_model", build)
    caplog.set_level("INFO", logger="ke_t5")
    elsewhere = dataclasses.replace(one_rank(), device=torch.device("meta"))
    config = Config(ModelOrigin("folder"))
    assert modelling._built_again(config, elsewhere) == torch.device("cpu")
    assert not caplog.messages
    modelling.build_model(config, elsewhere)
    assert caplog.messages == ["LoRA of rank 8"]


def test_an_outline_knows_tied_and_frozen_tensors():
    model = body(3)
    whole = outline_of(model).tensors
    model[1].weight.requires_grad_(False)
    frozen = outline_of(model).tensors
    model[1].bias = nn.Parameter(model[0].weight[0])
    model.register_buffer("table", torch.zeros(2), persistent=False)
    assert whole != frozen != outline_of(model).tensors
    tied = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    apart = outline_of(tied).tensors
    tied["b"].weight = tied["a"].weight
    assert outline_of(tied).tensors != apart
