"""CUDA graphs for `benchmarks.gpu`: correctness, and speed compared with the Trainer."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gin
import torch

from benchmarks.gpu_steps import (
    LEARNING_RATE,
    Case,
    cases,
    graphs_of,
    ms_of_theirs,
    time_ours,
    wait,
)
from ke_t5.distributed import Ranks
from ke_t5.pipe import Examples, get_batches
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.loop import TrainState, Update, fit
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import FitSettings

# Of the runs whose numbers are compared, and of those on YNAT; timed from `WARM` on.
STEPS, CUT = 20, 7
YNAT_STEPS, WARM = (160, 60) if torch.cuda.is_available() else (12, 4)


def classifier(folder: Path, device: torch.device, **sizes: Any) -> Any:
    """A RoBERTa for YNAT with dropout; always the same weights."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    torch.manual_seed(0)
    config = RobertaConfig.from_pretrained(folder, num_labels=7, **sizes)
    with torch.device(device):
        return RobertaForSequenceClassification(config)


def start(model: Any, examples: Examples, device: torch.device, *, as_graphs: bool) -> TrainState:
    """A run before its first step."""
    state = TrainState(
        model, model, get_optimizer(learning_rate=LEARNING_RATE)(model), lambda step: 1 / (1 + step)
    )
    if as_graphs:
        state.graphs = graphs_of(model, examples, device, rows=32)
    return state


def updates(
    state: TrainState, examples: Examples, device: torch.device, *, precision: str, steps: int
) -> Iterator[Update]:
    """Yields the updates of a run up to a step."""
    plan = get_batches(examples.lengths("input_ids"), batch_size=32, num_parts=1, seed=0)
    return fit(
        state, examples, plan, ranks=Ranks(0, 1, device, torch.get_num_threads()),
        settings=FitSettings(precision, 1, 1.0, False, None, False), loss_reduction="rows", seed=0,
        num_steps=steps,
    )  # fmt: skip


def numbers_of(
    make: Callable[[], Any], examples: Examples, device: torch.device, how: str, precision: str
) -> tuple[torch.Tensor, torch.Tensor, TrainState]:
    """The losses and final weights of a run: "eager", with "graphs", or "cut" and resumed."""
    state = start(make(), examples, device, as_graphs=True)
    assert state.graphs is not None
    if how == "eager":  # in the same shapes
        state.graphs.reason = how
    losses = []
    if how == "cut":
        first = updates(state, examples, device, precision=precision, steps=CUT)
        losses = [update.loss.double().cpu() for update in first]
        model, optimizer = state.module.state_dict(), state.optimizer.state_dict()
        state = start(make(), examples, device, as_graphs=True)
        state.module.load_state_dict(model)
        state.optimizer.load_state_dict(optimizer)
        state.step = CUT
    rest = updates(state, examples, device, precision=precision, steps=STEPS)
    losses += [update.loss.double().cpu() for update in rest]
    weights = [weight.detach().flatten().cpu() for weight in state.module.parameters()]
    return torch.stack(losses), torch.cat(weights), state


def compare_numbers(examples: Examples, folder: Path, device: torch.device, notes: Any) -> None:
    """Whether graphs give bitwise the same results as eager steps."""
    for precision in ("fp32", "bf16"):
        found: dict[str, tuple[torch.Tensor, torch.Tensor, TrainState]] = {}

        def measure(how: str, name: str, precision: str = precision, found: dict = found) -> dict:
            losses, weights, state = numbers_of(
                lambda: classifier(folder, device), examples, device, how, precision
            )
            losses_0, weights_0, _ = found.setdefault("first", (losses, weights, state))
            found[name] = losses, weights, state
            graphs = state.graphs
            assert graphs is not None
            return {
                "worst_loss": f"{float(((losses - losses_0) / losses_0).abs().max()):.2g}",
                "equal_losses": bool(torch.equal(losses, losses_0)),
                "equal_weights": bool(torch.equal(weights, weights_0)),
                "graphs": len(graphs._graphs), "given_up": graphs.reason or "",
            }  # fmt: skip

        for how, name in (
            ("eager", "eager"), ("eager", "again"), ("graphs", "graphs"),
            ("graphs", "graphs again"), ("cut", f"graphs, resumed at {CUT}"),
        ):  # fmt: skip
            notes.attempt(
                {"case": f"YNAT {STEPS} steps {precision}", "implementation": name},
                lambda how=how, name=name: measure(how, name),
            )


def rate_on_ynat(
    model: Any, examples: Examples, device: torch.device, *, as_graphs: bool
) -> dict[str, Any]:
    """Rows per second of our loop on real lengths."""
    state = start(model, examples, device, as_graphs=as_graphs)
    began = warm = time.perf_counter()
    for update in updates(state, examples, device, precision="bf16", steps=YNAT_STEPS):
        if update.step == WARM:
            wait(device)
            warm = time.perf_counter()
    wait(device)
    end, graphs = time.perf_counter(), state.graphs
    found = {"rows/s": f"{32 * (YNAT_STEPS - WARM) / (end - warm):.0f}",
             "rows/s from the first step": f"{32 * YNAT_STEPS / (end - began):.0f}"}  # fmt: skip
    if graphs is not None:
        found |= {"graphs": len(graphs._graphs), "given_up": graphs.reason or ""}
    return found


def their_rate_on_ynat(model: Any, examples: Examples, device: torch.device) -> dict[str, Any]:
    """Rows per second of the Trainer: bf16, SDPA, fused AdamW, dynamic padding."""
    from transformers import (
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    times = {}

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step in (WARM, YNAT_STEPS):
                wait(device)
                times[state.global_step] = time.perf_counter()

    shown = examples.examples(range(min(len(examples), 32 * YNAT_STEPS)))
    rows: Any = [{name: row[name] for name in ("input_ids", "labels")} for row in shown]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=32, max_steps=YNAT_STEPS,
            learning_rate=LEARNING_RATE, bf16=True, optim="adamw_torch_fused", report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=device.type == "cpu",
        )  # fmt: skip
        Trainer(
            model, arguments, train_dataset=rows, callbacks=[Clock()],
            data_collator=DataCollatorWithPadding(get_vocabulary()),
        ).train()  # fmt: skip
    return {"rows/s": f"{32 * (YNAT_STEPS - WARM) / (times[YNAT_STEPS] - times[WARM]):.0f}"}


def measure_cases(models: Path, device: torch.device, notes: Any) -> None:
    """Batches of one shape: with graphs, eager, and with the Trainer."""

    def ours(case: Case, as_graphs: bool) -> dict[str, str]:
        found = time_ours(case, device, as_graphs=as_graphs, counts=False)
        return {"ms": f"{found['ms']:.1f}", "peak GB": f"{found['peak'] / 1e9:.2f}"}

    for case in cases(models, has_gpu=device.type == "cuda"):
        name = {"case": case.name, "optimizer": case.optimizer, "tokens": case.tokens}
        for whose, as_graphs in (("graphs", True), ("eager", False)):
            notes.attempt(
                {**name, "implementation": whose},
                lambda case=case, as_graphs=as_graphs: ours(case, as_graphs),
            )
        notes.attempt(
            {**name, "implementation": "Trainer"}, lambda case=case: ms_of_theirs(case, device)
        )


def graphs(
    flags: argparse.Namespace, notes: Any, *, topics: Callable[..., Examples], device: torch.device
) -> None:
    """Runs everything: speed, then correctness."""
    is_gpu = device.type == "cuda"
    folder = flags.models / ("roberta-small" if is_gpu else "roberta-mini")
    gin.clear_config()
    examples = topics(flags, folder)
    sizes = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12}
    tokens = round(32 * float(examples.row_lengths("input_ids")[:].mean()))
    name = {"case": "YNAT, RoBERTa-base, batch 32", "tokens": tokens}
    for whose, measure in {
        "graphs": lambda model: rate_on_ynat(model, examples, device, as_graphs=True),
        "eager": lambda model: rate_on_ynat(model, examples, device, as_graphs=False),
        "Trainer": lambda model: their_rate_on_ynat(model, examples, device),
    }.items():
        notes.attempt(
            {**name, "implementation": whose},
            lambda measure=measure: measure(
                classifier(folder, device, **(sizes if is_gpu else {}))
            ),
        )
    measure_cases(flags.models, device, notes)
    gin.clear_config()
    compare_numbers(topics(flags, folder), folder, device, notes)
