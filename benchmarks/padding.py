"""Rows that are laid end to end next to padded ones: CPU seconds and accuracy after the same rows.

3i4K with a RoBERTa of 4 x 256 from scratch, batch 32, fp32. A bare loop of a few lines computes the
same batches as our loop, to show what ours costs besides.

    python -m benchmarks.padding --hf_data_dir DIR --models DIR --out DIR
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from benchmarks.windows import SETTINGS, examples_of, new_model
from ke_t5.distributed import Ranks
from ke_t5.models.unpadding import Unpadding
from ke_t5.pipe import BatchPlan, EvaluationHelper, Examples, TaskRegistry, evaluate, get_batches
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import get_fit_settings

# name -> (window, whether the padding is left out, whether the loop is the bare one)
KINDS = {
    "no padding, random order": (1, True, False),
    "padded, windows of 8": (8, False, False),
    "padded, random order": (1, False, False),
    "no padding, random order, bare loop": (1, True, True),
}
RATE = 1e-3


def bare_loop(
    model: torch.nn.Module,
    train: Examples,
    plan: BatchPlan,
    unpadding: Unpadding | None,
    steps: int,
) -> None:
    """What a user would write for these batches."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    model.train()
    for batch in plan.epoch(0)[:steps]:
        columns = train.batch(batch)
        inputs = {name: torch.from_numpy(column).long() for name, column in columns.items()}
        inputs.pop("token_type_ids", None)
        with unpadding.over(columns["attention_mask"]) if unpadding else nullcontext():
            model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def run(kind: str, seed: int, steps: int, flags: argparse.Namespace) -> tuple[float, float]:
    """CPU seconds of the training, and the accuracy after it."""
    window, unpads, is_bare = KINDS[kind]
    train, test = examples_of(SETTINGS[0], flags)
    model = new_model(SETTINGS[0], flags, seed)
    unpadding = Unpadding(model) if unpads else None
    lengths = train.lengths("input_ids")
    plan = get_batches(lengths, batch_size=32, num_parts=1, seed=seed, window=window)
    ranks = Ranks(0, 1, torch.device("cpu"), torch.get_num_threads())
    plan.epoch(0)
    optimizer = get_optimizer(learning_rate=RATE)(model)
    state = TrainState(model, model, optimizer, lambda step: 1.0, unpadding=unpadding)
    settings = get_fit_settings(precision="fp32")
    started = time.process_time()
    if is_bare:
        bare_loop(model, train, plan, unpadding, steps)
    else:
        for _ in fit(
            state, train, plan, ranks=ranks, settings=settings,
            loss_reduction="rows", seed=seed, num_steps=steps,
        ):  # fmt: skip
            pass
    seconds = time.process_time() - started
    if is_bare and seed:
        return seconds, float("nan")
    found = evaluate(
        EvaluationHelper(TaskRegistry.get("kor_3i4k")), model, test, batch_size=64, ranks=ranks
    )
    return seconds, found.scores["accuracy"]


def main() -> None:
    """Prints a table: seconds and accuracy of each kind, seed by seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hf_data_dir", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="holds roberta-mini")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    flags = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for seed in range(flags.seeds):
        for kind, runs in found.items():
            runs.append(run(kind, seed, flags.steps, flags))
            sys.stdout.write(f"{seed} {kind}: {runs[-1][0]:.1f} s, accuracy {runs[-1][1]:.1f}\n")
            sys.stdout.flush()
    sys.stdout.write("| rows | CPU seconds | least ms a row | accuracy |\n|---|---|---|---|\n")
    for kind, runs in found.items():
        seconds, accuracy = zip(*runs, strict=True)
        least = 1000 * min(seconds) / flags.steps / 32
        sys.stdout.write(
            f"| {kind} | {statistics.median(seconds):.1f} | {least:.2f} | "
            f"{', '.join(f'{x:.1f}' for x in accuracy)} |\n"
        )


if __name__ == "__main__":
    main()
