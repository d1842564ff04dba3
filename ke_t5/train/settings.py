"""The settings of `fit`, bound by gin and checked before torch is imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from ke_t5.config.configurable import configurable
from ke_t5.config.ranges import Count, Positive, check_values
from ke_t5.errors import UserError, suggestion
from ke_t5.products import fast_products

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

AUTO, FP32, TF32, BF16, BF16_STEPS = PRECISIONS = ("auto", "fp32", "tf32", "bf16", "bf16_steps")
_, ROWS, NONE = PADDINGS = (AUTO, "rows", "none")
_, USED, ALL = EMBEDDING_ROWS = (AUTO, "used", "all")
LOGISTIC = "logistic_regression"


@dataclass(frozen=True)
class FitSettings:
    """The settings of the training loop.

    Attributes:
        precision: "bf16" (autocast; weights stay float32); "fp32"; "tf32" (fp32 whose matrix
            products on a GPU use 10-bit mantissas); "bf16_steps" (training steps in bf16,
            validation and test in fp32); or "auto": bf16 on a GPU that supports it, "bf16_steps" on
            a CPU with AVX-512 BF16 or AMX if most of the model's linear layers are 256 wide,
            otherwise fp32.
        accumulate: number of parts of a global batch that each process computes in sequence.
        clip_norm: maximum norm of the gradient, None for no clipping.
        compile: whether to use torch.compile (no gain on a CPU).
        early_stopping: number of validations without a better score after which the run ends, None
            for no early stopping.
        gradient_checkpointing: whether to recompute activations in the backward pass, to save
            memory.
        padding: "none": a batch's rows, in random order, are concatenated, so that the encoder
            computes next to no padding; "rows": they are grouped by length and padded to the
            longest; "auto": "none" on a CPU for encoders that support it, otherwise "rows".
        cuda_graphs: True: on a GPU, whole steps are captured as CUDA graphs, one per padded shape;
            "auto": if possible; False: never.
        compress_gradients: whether several processes exchange gradients in bf16, which halves the
            traffic but changes the rounding.
        head_start: "logistic_regression": the new head of a text classifier starts as a logistic
            regression on the vectors of the training rows, which helps with few rows; None: it
            starts random.
        embedding_rows: "used": only the rows of the input embedding whose tokens occur in the
            training data are trained, which saves time and memory and gives the same weights up to
            rounding; "all": every row is computed; "auto": "used" if that saves 2^20 weights or
            more and the model and the optimizer support it, otherwise "all".
    """

    precision: str
    accumulate: int
    clip_norm: float | None
    compile: bool
    early_stopping: int | None
    gradient_checkpointing: bool
    padding: str = AUTO
    cuda_graphs: bool | str = False
    compress_gradients: bool = False
    head_start: str | None = None
    embedding_rows: str = AUTO


def check_padding(padding: str) -> None:
    """Raises ValueError("what; fix") for a padding that is not one of `PADDINGS`."""
    if padding not in PADDINGS:
        fix = suggestion(str(padding), PADDINGS)
        raise ValueError(f"is {padding!r}, which is not a padding mode; {fix}")


def check_embedding_rows(rows: str) -> None:
    """Raises ValueError("what; fix") for anything but one of `EMBEDDING_ROWS`."""
    if rows not in EMBEDDING_ROWS:
        fix = suggestion(str(rows), EMBEDDING_ROWS)
        raise ValueError(f"is {rows!r}, which does not say which rows to train; {fix}")


def check_graphs(cuda_graphs: bool | str) -> None:
    """Raises ValueError("what; fix") for anything but True, False and "auto"."""
    if not isinstance(cuda_graphs, bool) and cuda_graphs != AUTO:
        raise ValueError(f"is {cuda_graphs!r}; give True, False or {AUTO!r}")


def check_head_start(head_start: str) -> None:
    """Raises ValueError("what; fix") for anything but "logistic_regression"."""
    if head_start != LOGISTIC:
        raise ValueError(f"is {head_start!r}; give {LOGISTIC!r} or None")


def check_precision(precision: str) -> None:
    """Raises ValueError("what; fix") for a precision that is not one of `PRECISIONS`."""
    if precision == "fp16":
        raise ValueError("is 'fp16', in which T5 overflows; use 'bf16' or 'fp32'")
    if precision not in PRECISIONS:
        fix = suggestion(str(precision), PRECISIONS)
        raise ValueError(f"is {precision!r}, which is not a precision; {fix}")


@configurable("fit")
def get_fit_settings(
    precision: Annotated[str, check_precision] = AUTO,
    accumulate: Count = 1,
    clip_norm: Positive | None = 1.0,
    compile: bool = False,
    early_stopping: Count | None = None,
    gradient_checkpointing: bool = False,
    padding: Annotated[str, check_padding] = AUTO,
    cuda_graphs: Annotated[bool | str, check_graphs] = AUTO,
    compress_gradients: bool = False,
    head_start: Annotated[str, check_head_start] | None = None,
    embedding_rows: Annotated[str, check_embedding_rows] = AUTO,
) -> FitSettings:
    """The settings bound to gin's `fit`; see `FitSettings`."""
    settings = locals()
    check_values("fit", get_fit_settings, settings)
    return FitSettings(**settings)


def autocast(settings: FitSettings, device: torch.device) -> Any:
    """The autocast context of the model on a device, outside of training steps."""
    return _bf16(device, is_on=resolved_precision(settings, device) == BF16)


def step_autocast(settings: FitSettings, device: torch.device) -> Any:
    """The autocast context of training steps on a device."""
    return _bf16(device, is_on=resolved_precision(settings, device) in (BF16, BF16_STEPS))


def _bf16(device: torch.device, *, is_on: bool) -> Any:
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_on)


@contextmanager
def products(settings: FitSettings, device: torch.device) -> Iterator[None]:
    """A context for the matrix products of training steps on a device: "tf32" on a GPU, by the
    faster library on a CPU."""
    if settings.precision != TF32 or device.type != "cuda":
        is_bf16 = resolved_precision(settings, device) in (BF16, BF16_STEPS)
        with nullcontext() if is_bf16 else fast_products(device):
            yield
        return
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def resolved_precision(settings: FitSettings, device: torch.device) -> str:
    """The precision on a device, one of `PRECISIONS` except "auto". For training steps on a CPU,
    the recipe resolves "auto" first."""
    if settings.precision != AUTO:
        return settings.precision
    import torch

    # GPUs before Ampere emulate it, which is slower than float32.
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return BF16 if has_bf16 else FP32


def recompute_activations(model: PreTrainedModel) -> None:
    """Enables the recomputation of the model's activations in the backward pass, to save memory.

    Raises:
        UserError: the model does not support it.
    """
    # transformers 5.23 renamed the method; the old name warns there.
    new_name = getattr(model, "activation_checkpointing_enable", None)
    try:
        (new_name or model.gradient_checkpointing_enable)()
    except ValueError as error:
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise UserError(reason, "fit.gradient_checkpointing", "drop it") from error
