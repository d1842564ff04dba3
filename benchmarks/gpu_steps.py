"""Times steps of a fixed shape, ours and the Trainer's, for `benchmarks.gpu`."""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gin
import numpy as np
import torch

from ke_t5.distributed import Ranks
from ke_t5.models.used_rows import UsedRows
from ke_t5.pipe import Examples, Feature, get_batches
from ke_t5.pipe.features import IGNORED
from ke_t5.pipe.rows import ROW_ID
from ke_t5.train.graphs import CudaRecorder, StepGraphs
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import FitSettings, recompute_activations
from ke_t5.train.static_shapes import find_shapes

LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Case:
    """A model and the shape of its batches.

    Attributes:
        folder: configuration of the model.
        sizes: values that replace those of the configuration.
        target_length: tokens of a target; 0 for a classifier.
        steps: timed; 3 before them are not.
        used_rows: the first rows of the embedding, which alone are trained; None for all.
    """

    name: str
    folder: Path
    sizes: dict[str, int]
    rows: int
    length: int
    target_length: int = 0
    optimizer: str = "AdamW"
    steps: int = 20
    used_rows: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens of a step, targets included."""
        return self.rows * (self.length + self.target_length)


def cases(models: Path, *, has_gpu: bool) -> list[Case]:
    """RoBERTa-base in four shapes, and T5-base with two optimizers; tiny ones without a GPU."""
    if has_gpu:
        roberta, t5 = models / "roberta-small", models / "ke-t5-small"
        base = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12}
        t5_base = {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_decoder_layers": 12,
                   "num_heads": 12, "d_kv": 64}  # fmt: skip
        shapes, targets, steps = ((32, 16), (32, 34), (16, 448), (64, 256)), (32, 64, 16), 20
    else:
        roberta, t5, base, t5_base = models / "roberta-mini", models / "ke-t5-mini", {}, {}
        shapes, targets, steps = ((4, 16), (4, 34), (2, 64), (2, 80)), (2, 16, 8), 2
    name = "base" if has_gpu else "mini"
    found = [
        Case(f"RoBERTa-{name} {rows}x{length}", roberta, base, rows, length, steps=steps)
        for rows, length in shapes
    ]
    rows, length, target = targets
    for optimizer in ("AdamW", "Adafactor"):
        title = f"T5-{name} {rows}x{length} to {target}"
        found.append(Case(title, t5, t5_base, rows, length, target, optimizer, steps))
    return found


def multilingual_cases(models: Path, *, has_gpu: bool) -> list[Case]:
    """RoBERTa in the shape of multilingual-e5-small, training all rows and those of the ids that
    `rows_of` draws; a tiny one without a GPU."""
    sizes = {"vocab_size": 250_002 if has_gpu else 6000, "hidden_size": 384,
             "num_hidden_layers": 12 if has_gpu else 1, "num_attention_heads": 12,
             "intermediate_size": 1536}  # fmt: skip
    folder, steps = models / ("roberta-small" if has_gpu else "roberta-mini"), 20 if has_gpu else 2
    return [
        Case(f"E5-small 32x16, {words}", folder, sizes, 32, 16, steps=steps, used_rows=used_rows)
        for words, used_rows in (("all rows", None), ("used rows", 5000))
    ]


def graphs_of(model: Any, examples: Examples, device: torch.device, *, rows: int) -> StepGraphs:
    """The graphs of a run; without a GPU, recorded steps are recomputed."""
    shapes = find_shapes(examples, model, num_rows=rows, fills_rows=True, device=device)
    if device.type == "cuda":
        return StepGraphs(shapes, CudaRecorder(), device)
    return StepGraphs(shapes, lambda function: function, device, may_draw=True)


def new_model(case: Case, device: str = "cpu") -> Any:
    """The case's model, with fresh weights."""
    from transformers import (
        AutoConfig,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
    )

    torch.manual_seed(0)
    kind = AutoModelForSeq2SeqLM if case.target_length else AutoModelForSequenceClassification
    config = AutoConfig.from_pretrained(case.folder, **case.sizes)
    with torch.device(device):
        return kind.from_config(config, attn_implementation="sdpa")


def rows_of(case: Case, number: int) -> list[dict[str, Any]]:
    """Rows of random ids, all of the case's lengths."""
    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for _ in range(number):
        row: dict[str, Any] = {"input_ids": generator.integers(5, 5000, case.length).tolist()}
        row["labels"] = generator.integers(5, 5000, case.target_length).tolist()
        rows.append(row if case.target_length else {**row, "labels": int(generator.integers(2))})
    return rows


def examples_of(case: Case, number: int) -> Examples:
    """The same rows as examples of our loop."""
    import datasets

    rows = rows_of(case, number)
    columns = {name: [row[name] for row in rows] for name in ("input_ids", "labels")}
    table = datasets.Dataset.from_dict({**columns, ROW_ID: list(range(number))})
    table = table.cast_column(ROW_ID, datasets.Value("int64"))
    rank = 1 if case.target_length else 0
    return Examples(table, {"input_ids": Feature(), "labels": Feature(rank=rank, pad=IGNORED)})


def wait(device: torch.device) -> None:
    """Waits until the device has finished all of its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_ours(
    case: Case, device: torch.device, *, compiled: bool = False, recompute: bool = False,
    model: Any = None, as_graphs: bool = False, counts: bool = True,
) -> dict[str, float]:  # fmt: skip
    """Milliseconds of a step of our loop, its floating-point operations if `counts`, and the peak
    memory."""
    from torch.utils.flop_counter import FlopCounterMode

    model = (model or new_model(case, device.type)).to(device)
    if recompute:
        recompute_activations(model)
    if case.used_rows is not None:
        UsedRows(model, np.arange(case.used_rows)).split()
    gin.clear_config()
    gin.parse_config(f"get_optimizer.optimizer_cls = @{case.optimizer}")
    state = TrainState(
        model, model, get_optimizer(learning_rate=LEARNING_RATE)(model), lambda step: 1.0
    )
    examples = examples_of(case, case.rows * (case.steps + 4))
    plan = get_batches(examples.lengths("input_ids"), batch_size=case.rows, num_parts=1, seed=0)
    run = {
        "ranks": Ranks(0, 1, device, torch.get_num_threads()), "seed": 0,
        "settings": FitSettings("bf16", 1, 1.0, compiled, None, recompute),
        "loss_reduction": "label_tokens" if case.target_length else "rows",
    }  # fmt: skip
    if as_graphs:
        state.graphs = graphs_of(model, examples, device, rows=case.rows)
    with FlopCounterMode(display=False) if counts else nullcontext() as counter:
        list(fit(state, examples, plan, num_steps=1, **run))
    if compiled:
        model.compile(dynamic=True)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started = 0.0
    for update in fit(state, examples, plan, num_steps=case.steps + 4, **run):
        if update.step == 4:
            wait(device)
            started = time.perf_counter()
    wait(device)
    ms = 1000 * (time.perf_counter() - started) / case.steps
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    flops = counter.get_total_flops() if counter is not None else 0
    return {"ms": ms, "flops": flops, "peak": peak}


def ms_of_theirs(case: Case, device: torch.device) -> dict[str, str]:
    """Milliseconds of a step of the Trainer on the same rows."""
    from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

    class Clock(TrainerCallback):
        started = ended = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step in (4, case.steps + 4):
                wait(device)
                self.started, self.ended = self.ended, time.perf_counter()

    clock = Clock()
    # Any: the annotation of train_dataset knows classes of data sets only.
    rows: Any = rows_of(case, case.rows * (case.steps + 4))
    optimizer = "adamw_torch_fused" if case.optimizer == "AdamW" else "adafactor"
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=case.rows, max_steps=case.steps + 4,
            learning_rate=LEARNING_RATE, lr_scheduler_type="constant", bf16=True,
            optim=optimizer, report_to=[], save_strategy="no", logging_strategy="no",
            disable_tqdm=True, use_cpu=device.type == "cpu",
        )  # fmt: skip
        Trainer(
            new_model(case, device.type), arguments,
            train_dataset=rows,
            data_collator=default_data_collator, callbacks=[clock],
        ).train()  # fmt: skip
    return {"ms": f"{1000 * (clock.ended - clock.started) / case.steps:.1f}"}


def rate_of_products(device: torch.device) -> float:
    """TFLOP/s of a large matrix product in bf16, the peak of this machine."""
    size, times = (8192, 20) if device.type == "cuda" else (256, 2)
    left = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    right = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        torch.mm(left, right)
    wait(device)
    started = time.perf_counter()
    for _ in range(times):
        torch.mm(left, right)
    wait(device)
    return 2 * size**3 * times / (time.perf_counter() - started) / 1e12
