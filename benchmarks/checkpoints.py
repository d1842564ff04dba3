"""A checkpoint of 110 M parameters with AdamW's state: how long training waits for it.

    python -m benchmarks.checkpoints [--repetitions 5] [--threads 2] [--folder FOLDER]

Ours, `torch.save` with an fsync, and a load of each, interleaved; the medians. Training waits for
ours until the tensors are copied; `written` is when the checkpoint is on the disk, hashed, read
back and named.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from transformers import RobertaConfig, RobertaModel

from ke_t5.checkpoint.checkpointer import Checkpointer
from ke_t5.checkpoint.checkpoints import load_checkpoint
from ke_t5.distributed import Ranks
from ke_t5.train.guard import NonFiniteGuard

CONFIG = {"vocab_size": 32_000, "max_position_embeddings": 514}


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """RoBERTa-base after one update with a made-up gradient."""
    model = RobertaModel(RobertaConfig(**CONFIG))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def seconds(work: Callable[[], object]) -> float:
    """How long it took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def torch_save(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """What people write by hand, and an fsync."""
    with path.open("wb") as file:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())


def torch_load(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Its counterpart."""
    content = torch.load(path, map_location="cpu")
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])


def measure(folder: Path, repetitions: int) -> dict[str, list[float]]:
    """Seconds by row of the table."""
    model, optimizer = trained()
    state = SimpleNamespace(
        module=model, optimizer=optimizer, step=0, rows=0, loss_steps=0,
        loss_sum=torch.zeros((), dtype=torch.float64), guard=NonFiniteGuard(optimizer),
    )  # fmt: skip
    ranks = Ranks(0, 1, torch.device("cpu"), torch.get_num_threads())
    ours = Checkpointer(folder / "run", state, ranks, epoch_steps=repetitions, improves=None)  # pyright: ignore[reportArgumentType]
    theirs, found = folder / "theirs.pt", {}
    for number in range(repetitions + 1):
        state.step = number + 1
        rows = {"ours, training waits": seconds(ours.save), "ours, written after": 0.0}
        rows["ours, written after"] = rows["ours, training waits"] + seconds(ours.wait)
        rows["torch.save"] = seconds(lambda: torch_save(theirs, model, optimizer))
        path = folder / "run" / "weights" / f"step-{state.step:08d}"
        rows["ours, load"] = seconds(
            lambda: load_checkpoint(path, model=model, optimizer=optimizer, is_checked=True)  # noqa: B023
        )
        rows["torch.load"] = seconds(lambda: torch_load(theirs, model, optimizer))
        for name, taken in rows.items():
            # The first copy is made into memory that is new.
            found.setdefault(name if number else f"{name} (first)", []).append(taken)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    flags = parser.parse_args(arguments)
    torch.set_num_threads(flags.threads)
    folder = Path(tempfile.mkdtemp(dir=flags.folder))
    try:
        for name, taken in measure(folder, flags.repetitions).items():
            middle = statistics.median(taken)
            sys.stdout.write(f"{name:32} {middle:6.2f} s ({min(taken):.2f} - {max(taken):.2f})\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
