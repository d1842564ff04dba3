"""A checkpoint of 110 M parameters with AdamW's state: how long training waits for it.

Training waits for ours until the tensors are copied; it is on the disk, hashed, read back and
named before the next one is begun. The first copy, into memory that is new, is not counted.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import RobertaConfig, RobertaModel

from benchmarks.rows import Runs, Setting
from benchmarks.training import one_process
from ke_t5.checkpoint.checkpointer import Checkpointer
from ke_t5.checkpoint.checkpoints import load_checkpoint
from ke_t5.train.guard import NonFiniteGuard

CONFIG = RobertaConfig(vocab_size=32_000, max_position_embeddings=514)


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """RoBERTa-base after one update with a random gradient."""
    model = RobertaModel(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def seconds(work: Callable[[], object]) -> float:
    """The seconds that a function takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def torch_save(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Saves as users do by hand, with an fsync."""
    with path.open("wb") as file:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())


def torch_load(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Loads what `torch_save` has saved."""
    content = torch.load(path, map_location="cpu")
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])


class Both:
    """A run that is saved and loaded with ours and with torch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.optimizer = trained()
        self.state: Any = SimpleNamespace(
            module=self.model, optimizer=self.optimizer, step=0, rows=0, loss_steps=0,
            loss_sum=torch.zeros((), dtype=torch.float64), guard=NonFiniteGuard(self.optimizer),
        )  # fmt: skip
        never: Any = None  # nothing is validated
        self.ours = Checkpointer(
            folder / "run", self.state, one_process(), epoch_steps=100, improves=never
        )
        self.theirs = folder / "theirs.pt"

    def save(self) -> float:
        """Seconds until training continues; the write in the background is awaited afterwards."""
        self.state.step += 1
        taken = seconds(self.ours.save)
        self.ours.wait()
        return taken

    def load(self) -> float:
        """Seconds to restore the state, including the verification of hashes."""
        path = self.folder / "run" / "weights" / f"step-{self.state.step:08d}"
        return seconds(lambda: load_checkpoint(path, model=self.model, optimizer=self.optimizer))

    def torch_save(self) -> float:
        """Seconds of `torch.save` with an fsync."""
        return seconds(lambda: torch_save(self.theirs, self.model, self.optimizer))

    def torch_load(self) -> float:
        """Seconds of `torch.load`."""
        return seconds(lambda: torch_load(self.theirs, self.model, self.optimizer))


def measure(setting: Setting, ours: str, theirs: str, name: str) -> dict[str, Runs]:
    """Compares two methods of `Both`, after one warm-up round."""
    runs = {"ours": Runs(), name: Runs()}
    with tempfile.TemporaryDirectory() as folder:
        both = Both(Path(folder))
        both.save()
        both.torch_save()
        for _ in range(max(3, setting.rounds)):
            runs["ours"].seconds.append(getattr(both, ours)())
            runs[name].seconds.append(getattr(both, theirs)())
    return runs


blocked = partial(measure, ours="save", theirs="torch_save", name="torch.save, fsync")
load = partial(measure, ours="load", theirs="torch_load", name="torch.load")
