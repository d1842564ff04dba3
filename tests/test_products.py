"""Which library multiplies float32 matrices on a CPU, and where."""

import pytest
import torch

from ke_t5 import products
from ke_t5.models import crf
from ke_t5.products import FEW_VECTORS, MKL, ONEDNN, fast_products, is_exact, small_products

CPU, GPU = torch.device("cpu"), torch.device("cuda")
precision = torch.get_float32_matmul_precision


@pytest.fixture(autouse=True)
def _precision_restored():
    before = precision()
    products.uses_onednn.cache_clear()
    yield
    torch.set_float32_matmul_precision(before)
    products.uses_onednn.cache_clear()


@pytest.fixture
def onednn(monkeypatch):
    """A CPU on which oneDNN is faster."""
    monkeypatch.setattr(products, "uses_onednn", lambda: True)


@pytest.mark.usefixtures("onednn")
def test_products_of_a_cpu_are_by_onednn_until_the_context_ends():
    with pytest.raises(KeyError), fast_products(CPU):
        assert precision() == ONEDNN
        with fast_products(CPU):
            assert precision() == ONEDNN
        assert precision() == ONEDNN
        with pytest.raises(KeyError), small_products():
            assert precision() == MKL
            raise KeyError
        assert precision() == ONEDNN
        raise KeyError
    assert precision() == MKL


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize(
    ("device", "num_vectors", "before"),
    [(GPU, 100, MKL), (CPU, FEW_VECTORS - 1, MKL), (CPU, 100, "high"), (CPU, 100, ONEDNN)],
)
def test_elsewhere_and_with_a_precision_of_the_caller_nothing_changes(device, num_vectors, before):
    torch.set_float32_matmul_precision(before)
    with fast_products(device, num_vectors):
        assert precision() == before
    assert precision() == before


@pytest.mark.usefixtures("onednn")
def test_a_precision_set_for_a_single_backend_is_kept(monkeypatch):
    def mixed():
        raise RuntimeError("set by the new API")

    chosen = []
    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    with fast_products(CPU), small_products():
        assert chosen == []
    assert chosen == []


@pytest.mark.parametrize(
    ("vendor", "capability", "exact", "expected"),
    [
        ("AuthenticAMD", "AVX512", True, True),
        ("AuthenticAMD", "AVX512", False, False),  # rounded to bfloat16
        ("AuthenticAMD", "AVX2", True, False),
        ("GenuineIntel", "AVX512", True, False),
        ("", "AVX512", True, False),
    ],
)
def test_onednn_is_for_amd_cpus_with_avx512_if_it_is_exact(
    monkeypatch, vendor, capability, exact, expected
):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "cpu_words", lambda: frozenset({"vendor_id", vendor}))
    monkeypatch.setattr(products, "is_exact", lambda: exact)
    assert products.uses_onednn() is expected


def test_products_rounded_to_bfloat16_are_not_exact(monkeypatch):
    multiply = torch.Tensor.__matmul__

    def rounded(left, right):
        if left.dtype == torch.float32:
            return multiply(left.bfloat16(), right.bfloat16()).float()
        return multiply(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not is_exact()


def test_the_check_depends_on_no_context_and_changes_no_state():
    expected, state = is_exact(), torch.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert is_exact() is expected
    assert precision() == MKL
    assert torch.equal(torch.get_rng_state(), state)


def test_onednn_gives_the_products_and_gradients_of_float32():
    if not is_exact():
        pytest.skip("oneDNN rounds to bfloat16 on this CPU")
    torch.manual_seed(0)
    inputs, layer = torch.randn(70, 256), torch.nn.Linear(256, 300)
    exact = torch.nn.Linear(256, 300).double()
    exact.load_state_dict(layer.state_dict())
    with products._changed(MKL, ONEDNN):
        found = layer(inputs)
        found.square().mean().backward()
    wanted = exact(inputs.double())
    wanted.square().mean().backward()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    for name, weight in exact.named_parameters():
        gradient = layer.get_parameter(name).grad.double()
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("onednn")
def test_a_crf_multiplies_its_small_matrices_by_mkl(monkeypatch):
    seen = []
    sweeps = crf._sweeps
    monkeypatch.setattr(crf, "_sweeps", lambda *all_: seen.append(precision()) or sweeps(*all_))
    sums = crf._pair_sums
    monkeypatch.setattr(crf, "_pair_sums", lambda *all_: seen.append(precision()) or sums(*all_))
    mask = torch.ones(2, 5, dtype=torch.bool)
    emissions = torch.randn(2, 5, 3, requires_grad=True)
    with fast_products(CPU):
        crf.CRF(3)(emissions, torch.zeros(2, 5, dtype=torch.int64), mask).sum().backward()
        assert precision() == ONEDNN
    assert seen == [MKL, MKL]
    with fast_products(CPU), torch.inference_mode():  # other threads may be computing
        crf.CRF(3)(emissions, torch.zeros(2, 5, dtype=torch.int64), mask)
    assert seen[2:] == [ONEDNN]
