"""The settings of `fit`, and those of a GPU as far as they can be tested without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.toy_model import toy_model

from ke_t5.errors import UserError
from ke_t5.pipe.model_inputs import model_inputs
from ke_t5.train.settings import (
    autocast,
    get_fit_settings,
    products,
    recompute_activations,
    step_autocast,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16"}, "fit.precision: is 'fp16', in which T5 overflows"),
        ({"precision": "bf61"}, "did you mean 'bf16'"),
        ({"padding": "row"}, "fit.padding: is 'row', which is not a padding mode; .*'rows'"),
        ({"cuda_graphs": "yes"}, "fit.cuda_graphs: is 'yes'; give True, False or 'auto'"),
        ({"head_start": "mean"}, "fit.head_start: is 'mean'; give 'logistic_regression' or None"),
        ({"accumulate": 0}, "fit.accumulate: is 0; give at least 1"),
        ({"clip_norm": 0.0}, "fit.clip_norm: is 0.0"),
        ({"early_stopping": 0}, "fit.early_stopping: is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        get_fit_settings(**settings)


@pytest.mark.parametrize(
    ("precision", "of_steps", "of_others"),
    [
        ("bf16", torch.bfloat16, torch.bfloat16),
        ("bf16_steps", torch.bfloat16, torch.float32),
        ("fp32", torch.float32, torch.float32),
        ("auto", torch.float32, torch.float32),
    ],
)
def test_a_cpu_computes_in_what_is_asked_for(precision, of_steps, of_others):
    one, settings = torch.ones(2, 2), get_fit_settings(precision=precision)
    with step_autocast(settings, CPU):
        assert (one @ one).dtype == of_steps
    with autocast(settings, CPU):
        assert (one @ one).dtype == of_others


@pytest.mark.parametrize(
    ("precision", "is_native", "expected"),
    [("auto", True, True), ("auto", False, False), ("bf16", False, True), ("fp32", True, False)],
)
def test_auto_is_bf16_only_where_the_gpu_has_it_natively(
    monkeypatch, precision, is_native, expected
):
    """Older GPUs emulate it, slower than float32, which torch also reports as supported."""
    asked = []
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: is_native or including_emulation,
    )
    monkeypatch.setattr(torch, "autocast", lambda kind, **options: asked.append((kind, options)))
    autocast(get_fit_settings(precision=precision), GPU)
    assert asked == [("cuda", {"dtype": torch.bfloat16, "enabled": expected})]


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        ("tf32", GPU, ["high", "highest"]),
        ("fp32", GPU, []),
        ("bf16", GPU, []),
        ("auto", CPU, ["medium", "highest"]),  # oneDNN's kernels
        ("fp32", CPU, ["medium", "highest"]),
        ("tf32", CPU, ["medium", "highest"]),
        ("bf16", CPU, []),
        ("bf16_steps", CPU, []),
    ],
)
def test_products_of_steps_are_tf32_on_a_gpu_or_fast_on_a_cpu(
    monkeypatch, precision, device, expected
):
    chosen = []
    monkeypatch.setattr("ke_t5.products.uses_onednn", lambda: True)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: (["highest"] + chosen)[-1])
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    with pytest.raises(KeyError), products(get_fit_settings(precision=precision), device):
        raise KeyError
    assert chosen == expected


def test_a_model_that_cannot_recompute_is_one_line():
    with pytest.raises(UserError, match="fit.gradient_checkpointing: ToyModel does not support"):
        recompute_activations(toy_model())


def test_batches_go_to_a_gpu_out_of_pinned_memory(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pin") or self)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *to, **how: calls.append((*to, how)) or self
    )
    batch = {"input_ids": np.ones((2, 3), np.int32)}
    assert model_inputs(toy_model, batch, GPU)["input_ids"].dtype == torch.int64
    assert calls == ["pin", (GPU, {"non_blocking": True})]
    model_inputs(toy_model, batch, CPU)
    assert calls[2:] == [(CPU, {"non_blocking": True})]
