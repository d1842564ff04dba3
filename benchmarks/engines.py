"""CPU seconds per step, peak memory and loss of each engine, compared with plain training.

    python -m benchmarks.engines --hf_data_dir DIR --model DIR [ENGINE ...]

--model is a folder with the weights of an encoder, --hf_data_dir has 3i4K. Each engine trains in
processes of its own on the same global batches of 32 rows; of several processes, seconds are the
sum and memory is that of the largest. CPU seconds hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ke_t5.distributed import Ranks
    from ke_t5.train.loop import TrainState
    from ke_t5.train.settings import FitSettings

ROOT = Path(__file__).resolve().parents[1]
ROWS, WARM_UP = 32, 3
# Engine -> the number of processes, and the gin bindings of `fit`.
ENGINES = {
    "plain": (1, {}),
    "accumulate=4": (1, {"accumulate": 4}),
    "gradient_checkpointing": (1, {"gradient_checkpointing": True}),
    "compile": (1, {"compile": True}),
    "embedding_rows='used'": (1, {"embedding_rows": "used"}),
    "lora": (1, {}),
    "ddp, 2 processes": (2, {}),
    "fsdp, 2 processes": (2, {}),
    "fsdp + lora, 2 processes": (2, {}),
}


def main() -> None:
    """Prints a table."""
    flags = parse()
    if flags.own:
        measure(flags)
        return
    show("| engine | CPU s per step | peak GB | relative to plain | final loss |")
    show("|---|---|---|---|---|")
    plain = None
    for name in flags.engines or ENGINES:
        seconds, peak, loss = run(name, flags)
        plain = plain or (seconds, peak)
        shares = f"{seconds / plain[0]:.2f} s, {peak / plain[1]:.2f} GB"
        show(f"| {name} | {seconds:.2f} | {peak:.2f} | {shares} | {loss:.3f} |")


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("engines", nargs="*")
    words.add_argument("--hf_data_dir", required=True)
    words.add_argument("--model", required=True)
    words.add_argument("--steps", type=int, default=30)
    words.add_argument("--own", help=argparse.SUPPRESS)  # the engine to measure in this process
    return words.parse_args()


def run(name: str, flags: argparse.Namespace) -> tuple[float, float, float]:
    """CPU seconds per step over all processes, GB of the largest one, and the final mean loss."""
    size = ENGINES[name][0]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={size}"]
    command = [
        sys.executable, *(launcher if size > 1 else []), "-m", "benchmarks.engines",
        "--hf_data_dir", flags.hf_data_dir, "--model", flags.model, "--steps", str(flags.steps),
        "--own", name,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    if len(found) != size:
        raise SystemExit(done.stderr[-2000:])
    seconds, peaks, losses = zip(*found, strict=True)
    return sum(seconds) / (flags.steps - WARM_UP), max(peaks), losses[0]


def resident() -> float:
    """The memory of this process in GB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e9


def state_of(name: str, module: PreTrainedModel, settings: FitSettings, ranks: Ranks) -> TrainState:
    """The model as prepared for the engine, with its optimizer."""
    from ke_t5.lookup.lora import lora_settings
    from ke_t5.models.lora import add_lora
    from ke_t5.train.compilation import compile_layers
    from ke_t5.train.loop import TrainState
    from ke_t5.train.optimizer_config import get_optimizer
    from ke_t5.train.settings import recompute_activations

    rate = 5e-5
    if lora := lora_settings("lora" in name):
        add_lora(module, lora, seed=0)
        rate = 5e-4
    if settings.gradient_checkpointing:
        recompute_activations(module)
    model = ranks.shard(module) if "fsdp" in name else None
    optimizer = get_optimizer(learning_rate=rate)(module)
    model = model or ranks.wrap(module, find_unused_parameters=False)
    if settings.compile:
        compile_layers(module)
    return TrainState(model, module, optimizer, lambda step: 1.0)


def measure(flags: argparse.Namespace) -> None:
    """Prints the CPU seconds after the first steps, the GB of model and training, and the loss."""
    import peft  # noqa: F401 - so that its code does not count as memory of the model
    import torch
    from transformers import AutoModelForSequenceClassification

    from benchmarks.rows import Setting
    from benchmarks.training import rows_of, train_used_rows
    from ke_t5.distributed import session
    from ke_t5.pipe import get_batches
    from ke_t5.train.loop import fit
    from ke_t5.train.settings import USED, get_fit_settings

    setting = Setting(Path(flags.hf_data_dir), Path(flags.model), Path(flags.model), 1, 1.0)
    (train,) = rows_of("kor_3i4k", Path(flags.model), setting, ["train"])
    with session() as ranks:
        torch.manual_seed(0)
        before = resident()
        settings = get_fit_settings(precision="fp32", **ENGINES[flags.own][1])
        module = AutoModelForSequenceClassification.from_pretrained(flags.model, num_labels=7)
        if settings.embedding_rows == USED:
            train_used_rows(module, train)
        state = state_of(flags.own, module, settings, ranks)
        parts = ranks.size * settings.accumulate
        plan = get_batches(
            train.lengths("input_ids"), batch_size=ROWS // parts, num_parts=parts, seed=0
        )
        losses, started = [], 0.0
        for update in fit(
            state, train, plan, ranks=ranks, settings=settings, loss_reduction="rows", seed=0,
            num_steps=flags.steps,
        ):  # fmt: skip
            losses.append(float(ranks.mean(update.loss)))
            if update.step == WARM_UP:
                started = time.process_time()
        seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 - before
    show(json.dumps([seconds, peak, sum(losses[-10:]) / len(losses[-10:])]))


if __name__ == "__main__":
    main()
