"""Attention with dropout on a CPU, and its gradients."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from ke_t5.models import attention as padded
from ke_t5.models import unpadded_rows
from ke_t5.models.attention import attention
from ke_t5.products import fast_products

ROWS, HEADS, QUERIES, KEYS, WIDTH = 3, 2, 4, 5, 3
NONE = 1e-12  # too small a dropout to drop anything


def states(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(ROWS, HEADS, length, WIDTH, generator=generator, dtype=dtype)
        for length in (QUERIES, KEYS, KEYS)
    ]


def added(*shape):
    """Biases, and -inf for the last key of the first row."""
    generator = torch.Generator().manual_seed(1)
    bias = torch.randn(*shape, generator=generator, dtype=torch.float64)
    if shape[0] > 1:
        bias[0, ..., -1] = -torch.inf
    return bias


SHAPES = [
    (1, HEADS, QUERIES, KEYS), (ROWS, 1, 1, KEYS), (ROWS, HEADS, QUERIES, KEYS), (QUERIES, KEYS),
]  # fmt: skip


@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize("shape", [None, *SHAPES], ids=str)
def test_values_and_gradients_are_those_of_torch(shape, scale):
    bias = () if shape is None else (added(*shape),)
    inputs = [one.requires_grad_() for one in (*states(), *bias)]
    query, key, value, *rest = inputs
    mask = rest[0] if rest else None
    wanted = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    found = attention(query, key, value, mask, NONE, scale)
    torch.testing.assert_close(found, wanted)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), inputs),
        torch.autograd.grad(wanted.square().sum(), inputs),
        strict=True,
    ):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_what_is_dropped_gets_no_gradient(shape):
    def seen(*inputs):
        torch.manual_seed(2)  # the same elements are dropped each time
        return attention(*inputs, 0.4)

    bias = added(1, *shape[1:]).expand(shape).clone()
    inputs = [one.requires_grad_() for one in (*states(), bias)]
    assert torch.autograd.gradcheck(seen, inputs, fast_mode=True)
    assert not torch.allclose(seen(*inputs), attention(*inputs, NONE))


def test_bf16_is_computed_in_float32():
    exact = [one.requires_grad_() for one in states(torch.float32)]
    rounded = [one.detach().bfloat16().requires_grad_() for one in exact]
    bias = added(1, HEADS, QUERIES, KEYS).float().requires_grad_()
    found = []
    for inputs in ([one.detach().float().requires_grad_() for one in rounded], rounded):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16):
            seen = attention(*inputs, bias, 0.3)
        found.append((seen, *torch.autograd.grad(seen.float().square().sum(), (*inputs, bias))))
    (seen, *gradients), (its, *others) = found
    assert its.dtype == torch.bfloat16 and torch.equal(its, seen.bfloat16())
    assert [one.dtype for one in others] == [torch.bfloat16] * 3 + [torch.float32]
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other.float(), one, rtol=0.03, atol=0.03)


def test_small_products_stay_with_mkl(monkeypatch):
    """In attention over padded rows and over a block of unpadded ones, forward and backward."""
    monkeypatch.setattr("ke_t5.products.uses_onednn", lambda: True)
    seen = []

    def recorded(function):
        def call(*arguments):
            seen.append(torch.get_float32_matmul_precision())
            return function(*arguments)

        return call

    for module in (padded, unpadded_rows):
        for name in ("dropped_out", "score_gradients"):
            monkeypatch.setattr(module, name, recorded(getattr(module, name)))
    rows = unpadded_rows.unpadded_rows(np.array([[1, 1, 1], [1, 0, 0]]), torch.device("cpu"))
    flat = torch.randn(3, 1, HEADS, len(rows.tokens), WIDTH, requires_grad=True)
    with fast_products(torch.device("cpu")):
        query, key, value = (one.requires_grad_() for one in states())
        attention(query, key, value, None, 0.5).sum().backward()
        found, _ = unpadded_rows.unpadded_attention(
            torch.nn.Identity(), *flat, None, unpadded=rows, dropout=0.5
        )
        found.sum().backward()
        assert torch.get_float32_matmul_precision() == "medium"
    assert seen == ["highest"] * 4


def test_without_dropout_it_is_torchs_own():
    query, key, value = states()
    bias = added(ROWS, 1, 1, KEYS)
    wanted = scaled_dot_product_attention(query, key, value, attn_mask=bias)
    assert torch.equal(attention(query, key, value, bias, 0.0), wanted)
