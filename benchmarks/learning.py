"""What is learned without padding: accuracy after 100, 200 and 400 steps and after a whole epoch.

    python -m benchmarks.learning --hf_data_dir DIR --encoder DIR --out DIR [--seeds 5]

The row `train-encoder` of `python -m benchmarks` is one short pass. Here its model, RoBERTa of 4
layers x 256 with fresh weights, has all of 3i4K in batches of 32. Every seed draws weights and
order once, so that the runs of a seed are compared in pairs. Each result is added to
OUT/learning.jsonl as it comes, a run that is recorded there is not repeated, and OUT/learning.md is
the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.rows import Setting
from benchmarks.training import BATCH_SIZE, RATE, accuracy, new_encoder, one_process, rows_of
from benchmarks.windows import paired_difference, spread
from ke_t5.models.unpadding import Unpadding
from ke_t5.pipe import Examples, get_batches
from ke_t5.train.loop import TrainState, count_steps, fit
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import NONE, ROWS, get_fit_settings

STEPS = (100, 200, 400)
RANDOM = "padded, random order"
KINDS = {RANDOM: (ROWS, 1), "unpadded, random order": (NONE, 1), "padded, windows of 8": (ROWS, 8)}


def learn(
    setting: Setting, train: Examples, test: Examples, *, kind: str, seed: int, precision: str
) -> dict:
    """Accuracy after each of STEPS and after the epoch, and the CPU seconds of the training."""
    padding, window = KINDS[kind]
    model = new_encoder(setting, seed)
    plan = get_batches(
        train.lengths("input_ids"), batch_size=BATCH_SIZE, num_parts=1, seed=seed, window=window,
        is_padded=padding == ROWS,
    )  # fmt: skip
    state = TrainState(
        model, model, get_optimizer(learning_rate=RATE)(model), lambda step: 1.0,
        unpadding=Unpadding(model) if padding == NONE else None,
    )  # fmt: skip
    settings = get_fit_settings(precision=precision, padding=padding)
    found, seconds = [], 0.0
    for num_steps in (*STEPS, count_steps(plan, 1)):
        started = time.process_time()
        for _ in fit(
            state, train, plan, ranks=one_process(), settings=settings, loss_reduction="rows",
            seed=seed, num_steps=num_steps,
        ):  # fmt: skip
            pass
        seconds += time.process_time() - started
        found.append(accuracy(model, test))
    return {"kind": kind, "seed": seed, "accuracy": found, "seconds": round(seconds, 1)}


def table(results: list[dict]) -> str:
    """Markdown: mean ± standard deviation over the seeds, and the mean of the paired differences to
    random order with its 95 % t interval."""
    points = [*(f"{number} steps" for number in STEPS), "one epoch"]
    head = [
        "order",
        "seeds",
        *points,
        *(f"{point}, less padded" for point in points),
        "CPU seconds",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    padded = {result["seed"]: result for result in results if result["kind"] == RANDOM}
    for kind in KINDS:
        runs = [r for r in results if r["kind"] == kind and r["seed"] in padded]
        if not runs:
            continue
        scores = np.array([run["accuracy"] for run in runs])
        paired = scores - np.array([padded[run["seed"]]["accuracy"] for run in runs])
        cells = [kind, str(len(runs)), *(spread(list(values)) for values in scores.T)]
        cells += ["" if kind == RANDOM else paired_difference(list(v)) for v in paired.T]
        cells.append(f"{np.median([run['seconds'] for run in runs]):.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is missing, seed by seed, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hf_data_dir", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="configuration and tokenizer")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--precision", default="fp32")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    path = flags.out / "learning.jsonl"
    results = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(result["kind"], result["seed"]) for result in results}
    setting = Setting(flags.hf_data_dir, flags.encoder, flags.encoder)
    train, test = rows_of("kor_3i4k", flags.encoder, setting, ("train", "test"))
    for seed in range(flags.seeds):
        for kind in flags.kinds:
            if (kind, seed) in done:
                continue
            results.append(
                learn(setting, train, test, kind=kind, seed=seed, precision=flags.precision)
            )
            with path.open("a") as file:
                file.write(json.dumps(results[-1]) + "\n")
            sys.stdout.write(json.dumps(results[-1]) + "\n")
            sys.stdout.flush()
            (flags.out / "learning.md").write_text(table(results))
    sys.stdout.write(table(results))


if __name__ == "__main__":
    main()
