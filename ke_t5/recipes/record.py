"""`run.json`: what a run was started with, on which machine, and the cost of each launch."""

from __future__ import annotations

import logging
import platform
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.checkpoint.settings import CUDA_GRAPHS, EMBEDDING_ROWS, PADDING, PRECISION, WINDOW
from ke_t5.config.run_config import WARMUP_RATIO, WARMUP_STEPS, RunConfig
from ke_t5.errors import Stopped
from ke_t5.files import write_atomically, write_json
from ke_t5.recipes.summary import launcher
from ke_t5.seals import MANIFEST
from ke_t5.train.settings import resolved_precision

if TYPE_CHECKING:
    import torch

    from ke_t5.distributed import Ranks
    from ke_t5.pipe import BatchPlan
    from ke_t5.recipes.folders import RunFolder
    from ke_t5.train.loop import TrainState

logger = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "datasets", "tokenizers", "numpy", "scikit-learn")


def versions() -> dict[str, str | None]:
    """The versions of Python, the libraries and this package; None for one not installed."""
    # By name: the scripts run from a clone, where the package need not be installed.
    ours = import_module("ke_t5").__version__
    numbers: dict[str, str | None] = {"ke_t5": ours, "python": platform.python_version()}
    for name in LIBRARIES:
        numbers[name] = None
        with suppress(PackageNotFoundError):
            numbers[name] = version(name)
    return numbers


def git_commit() -> str | None:
    """The commit of this package's checkout, with "-dirty" if files differ; None without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def learning_rate(optimizer: torch.optim.Optimizer) -> float | None:
    """The rate that the schedule scales; None for an optimizer that sets its own rate."""
    rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    return max((rate for rate in rates if rate is not None), default=None)


def resolved_settings(config: RunConfig, state: TrainState, ranks: Ranks) -> dict[str, object]:
    """Gin name -> value of the settings that the run resolved itself."""
    ratio, steps, _ = config.schedule.settings
    settings: dict[str, object] = {
        PRECISION: resolved_precision(config.fit, ranks.device),
        PADDING: config.fit.padding,
        EMBEDDING_ROWS: config.fit.embedding_rows,
        WINDOW: config.batches.settings.window,
        WARMUP_RATIO: ratio,
        WARMUP_STEPS: steps,
    }
    if state.graphs is not None:
        settings[CUDA_GRAPHS] = True
    rate = learning_rate(state.optimizer)
    if rate is not None:
        settings[f"{config.optimizer.name}.lr"] = rate
    return settings


@contextmanager
def recorded(
    config: RunConfig, state: TrainState, ranks: Ranks, *, facts: dict[str, Any], started: float
) -> Iterator[None]:
    """Records a launch in run.json and config.gin, on rank 0: when it starts, so that killed runs
    have a record too, and when it ends or is stopped.

    Args:
        facts: see `training_facts`.
        started: when the launch began (`time.monotonic`).
    """
    if not ranks.is_main:
        yield
        return
    keep_configuration(config, state, ranks)
    record_start(config.run, state, ranks, facts=facts)
    try:
        yield
    except (Stopped, KeyboardInterrupt):
        _record_end(config, state, ranks, started)
        raise
    _record_end(config, state, ranks, started)


def _record_end(config: RunConfig, state: TrainState, ranks: Ranks, started: float) -> None:
    seconds = time.monotonic() - started
    record_end(config.run, to_step=state.step, seconds=seconds, device=ranks.device)
    keep_configuration(config, state, ranks)
    for line in config.gin.unread():
        logger.warning(line)


def keep_configuration(config: RunConfig, state: TrainState, ranks: Ranks) -> None:
    """Writes config.gin: the settings that the run read, with "auto" resolved."""
    text = config.gin.operative(resolved_settings(config, state, ranks))
    write_atomically(config.run.path / "config.gin", text, is_durable=True)


def training_facts(
    config: RunConfig, state: TrainState, ranks: Ranks, *, plan: BatchPlan, steps: int
) -> dict[str, Any]:
    """How the run trains, for run.json."""
    parameters, used = list(state.module.parameters()), state.used_rows
    untrained = 0 if used is None else used.table.numel() - used.weight.numel()
    return {
        "batch": {
            "per_process": config.batches.size,
            "accumulated": config.fit.accumulate,
            "global": plan.batch_size,
            "tokens": plan.batch_tokens,
        },
        "padding": round(plan.padding(), 4),
        "epochs": config.loop.epochs,
        "steps": steps,
        "schedule": {
            "name": config.schedule.in_force,
            **(config.schedule.settings._asdict() if config.schedule.name else {}),
        },
        "optimizer": type(state.optimizer).__name__,
        "learning_rate": learning_rate(state.optimizer),
        "precision": resolved_precision(config.fit, ranks.device),
        "parameters": untrained + sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
    }


def record_start(
    run: RunFolder, state: TrainState, ranks: Ranks, *, facts: Mapping[str, Any]
) -> None:
    """Adds these facts and this launch to run.json."""
    # "sealed": a manifest that is removed later is then noticed.
    content = {**run.read_run(), **facts, "sealed": (run.model / MANIFEST).exists()}
    launch = {
        "command": content.get("command"),
        "launcher": launcher(ranks),
        "git_commit": content.get("git_commit"),
        "host": socket.gethostname(),
        "gpu": _gpu(ranks.device),
        "processes": ranks.size,
        "started": now(),
        "from_step": state.step,
    }
    content["launches"] = [*content.get("launches", []), launch]
    write_json(run.run_file, content, is_durable=True)


def record_end(run: RunFolder, *, to_step: int, seconds: float, device: torch.device) -> None:
    """Adds the time and memory of the launch to run.json."""
    content = run.read_run()
    if not content.get("launches"):
        return
    content["launches"][-1] |= {
        "finished": now(),
        "seconds": round(seconds, 3),
        "to_step": to_step,
        "peak_memory_bytes": peak_memory(device),
    }
    write_json(run.run_file, content, is_durable=True)


def peak_memory(device: torch.device) -> dict[str, int]:
    """The peak memory of this process in bytes: on the host, and on its GPU if it has one."""
    unit = 1 if sys.platform == "darwin" else 1024
    peaks = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        import torch

        peaks["gpu"] = torch.cuda.max_memory_allocated(device)
    return peaks


def _gpu(device: torch.device) -> str | None:
    if device.type != "cuda":
        return None
    import torch

    return torch.cuda.get_device_name(device)


def now() -> str:
    """The current time in UTC, in ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")
