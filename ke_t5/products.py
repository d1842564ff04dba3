"""Products of float32 matrices on CPUs for which torch does not choose the faster library.

On AMD processors MKL computes with AVX2, at about half the speed of oneDNN's AVX-512 kernels. torch
chooses oneDNN if float32 products may be rounded to bfloat16. oneDNN does so on CPUs with matrix
units (AMX); on others it computes in float32, which `is_exact` checks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MKL, ONEDNN = "highest", "medium"  # of torch.set_float32_matmul_precision
# With fewer vectors, MKL is as fast or faster.
FEW_VECTORS = 4


@contextmanager
def fast_products(device: torch.device, num_vectors: int = FEW_VECTORS) -> Iterator[None]:
    """A context in which a CPU computes float32 products by the faster library, in float32.

    It has no effect if the caller has changed torch's precision of products.

    Args:
        num_vectors: the number of vectors that most products multiply at once.
    """
    if device.type != "cpu" or num_vectors < FEW_VECTORS or not uses_onednn():
        yield
    else:
        with _changed(MKL, ONEDNN):
            yield


@contextmanager
def small_products() -> Iterator[None]:
    """A context within `fast_products` for products of small matrices, or of ever new shapes, for
    each of which oneDNN generates code.

    It has no effect in inference mode: the threads of an evaluation share the setting, and no
    result may depend on what another thread computes at the same time.
    """
    import torch

    if torch.is_inference_mode_enabled():
        yield
        return
    with _changed(ONEDNN, MKL):
        yield


@contextmanager
def _changed(before: str, within: str) -> Iterator[None]:
    """A context with another precision of torch's products, if it is the expected one before."""
    import torch

    try:
        is_expected = torch.get_float32_matmul_precision() == before
    except RuntimeError:  # set for a single backend, with torch 2.9 or later
        is_expected = False
    if not is_expected:
        yield
        return
    torch.set_float32_matmul_precision(within)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@functools.cache
def uses_onednn() -> bool:
    """Whether oneDNN computes products on this CPU faster than MKL, and in float32."""
    import torch

    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and "AuthenticAMD" in cpu_words()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and is_exact()
    )


def is_exact() -> bool:
    """Whether oneDNN computes products of several sizes in float32."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.autocast("cpu", enabled=False), _changed(MKL, ONEDNN):
        for rows, inner, columns in ((2, 64, 256), (33, 256, 256), (256, 768, 512)):
            left = torch.randn(rows, inner, generator=generator)
            right = torch.randn(inner, columns, generator=generator)
            errors = (left @ right).double() - left.double() @ right.double()
            if errors.abs().max() > 1e-6 * inner:
                return False
    return True


@functools.cache
def cpu_words() -> frozenset[str]:
    """The words of Linux's description of the CPU; none on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    return frozenset(text.split())
