"""Learning without padding: accuracy after 100, 200 and 400 steps and after an epoch.

    python -m benchmarks.learning --hf_data_dir DIR --encoder DIR --out DIR [--seeds 5]

The row `train-encoder` of `python -m benchmarks` is one short pass. Here its model, a randomly
initialized RoBERTa of 4 layers x 256, trains on all of 3i4K in batches of 32. Runs with the same
seed share initial weights and order, and are compared in pairs. Results are appended to
OUT/learning.jsonl; runs that are recorded there are not repeated. OUT/learning.md is the table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.rows import Setting
from benchmarks.training import (
    BATCH_SIZE,
    RATE,
    accuracy,
    leave_padding_out,
    new_encoder,
    one_process,
    rows_of,
)
from benchmarks.windows import add_result, paired_difference, read_results, spread
from ke_t5.pipe import Examples, get_batches
from ke_t5.train.loop import TrainState, count_steps, fit
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import NONE, ROWS, get_fit_settings

STEPS = (100, 200, 400)
RANDOM = "padded, random order"
KINDS = {RANDOM: (ROWS, 1), "unpadded, random order": (NONE, 1), "padded, windows of 8": (ROWS, 8)}


def learn(
    setting: Setting, train: Examples, test: Examples, *, kind: str, seed: int, is_short: bool
) -> dict:
    """Accuracy after each of STEPS and, unless `is_short`, after the epoch."""
    padding, window = KINDS[kind]
    model = new_encoder(setting, seed)
    plan = get_batches(
        train.lengths("input_ids"), batch_size=BATCH_SIZE, num_parts=1, seed=seed, window=window,
        is_padded=padding == ROWS,
    )  # fmt: skip
    state = TrainState(
        model, model, get_optimizer(learning_rate=RATE)(model), lambda step: 1.0,
        unpadding=leave_padding_out(model, train) if padding == NONE else None,
    )  # fmt: skip
    settings = get_fit_settings(precision="fp32", padding=padding)
    found = []
    for num_steps in STEPS if is_short else (*STEPS, count_steps(plan, 1)):
        for _ in fit(
            state, train, plan, ranks=one_process(), settings=settings, loss_reduction="rows",
            seed=seed, num_steps=num_steps,
        ):  # fmt: skip
            pass
        found.append(accuracy(model, test))
    return {"kind": kind, "seed": seed, "accuracy": found}


def table(results: list[dict]) -> str:
    """A Markdown table: mean ± standard deviation over the seeds (and their number), and the mean
    paired difference to random order with its 95 % t interval."""
    head = ["order", *(f"{number} steps" for number in STEPS), "one epoch"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    scores = {
        kind: {r["seed"]: r["accuracy"] for r in results if r["kind"] == kind} for kind in KINDS
    }
    for kind, found in scores.items():
        cells, differences = [kind], [f"{kind}, minus {RANDOM}"]
        for point in range(len(head) - 1):
            known = {seed: values[point] for seed, values in found.items() if point < len(values)}
            padded = {seed: values[point:] for seed, values in scores[RANDOM].items()}
            pairs = [known[seed] - padded[seed][0] for seed in known if padded.get(seed)]
            cells.append(f"{spread(list(known.values()))} ({len(known)})" if known else "")
            differences.append(paired_difference(pairs) if pairs else "")
        if found:
            lines.append("| " + " | ".join(cells) + " |")
        if found and kind != RANDOM:
            lines.append("| " + " | ".join(differences) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is not recorded, seed by seed, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hf_data_dir", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="configuration and tokenizer")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--steps_only", action="store_true", help="ends after the last of STEPS")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    path = flags.out / "learning.jsonl"
    results = read_results(path)
    points = len(STEPS) + (not flags.steps_only)
    done = {(r["kind"], r["seed"]) for r in results if len(r["accuracy"]) >= points}
    setting = Setting(flags.hf_data_dir, flags.encoder, flags.encoder)
    train, test = rows_of("kor_3i4k", flags.encoder, setting, ("train", "test"))
    for seed in range(flags.seeds):
        for kind in flags.kinds:
            if (kind, seed) in done:
                continue
            results = [r for r in results if (r["kind"], r["seed"]) != (kind, seed)]
            results.append(
                learn(setting, train, test, kind=kind, seed=seed, is_short=flags.steps_only)
            )
            add_result(path, results[-1])
            (flags.out / "learning.md").write_text(table(results))
    sys.stdout.write(table(results))


if __name__ == "__main__":
    main()
