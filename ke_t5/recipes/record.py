"""`run.json`: what a run was started with, on which machine, and what each launch of it took."""

from __future__ import annotations

import platform
import resource
import socket
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.files import write_atomically, write_json
from ke_t5.train.optimizers import gin_name
from ke_t5.train.schedules import schedule_settings
from ke_t5.train.settings import resolved_precision

if TYPE_CHECKING:
    import torch

    from ke_t5.recipes.trainer import Keeper

WARMUP = ("warmup_ratio", "warmup_steps", "min_ratio")
LIBRARIES = ("torch", "transformers", "datasets", "tokenizers", "numpy", "scikit-learn")


def versions() -> dict[str, str | None]:
    """Python, the libraries, and this package, None for one that is not installed."""
    # By name: the scripts run from a clone, where the package need not be installed.
    ours = import_module("ke_t5").__version__
    found: dict[str, str | None] = {"ke_t5": ours, "python": platform.python_version()}
    for name in LIBRARIES:
        found[name] = None
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def git_commit() -> str | None:
    """The commit of this package's checkout, with "-dirty" if files differ; None without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def learning_rate(optimizer: torch.optim.Optimizer) -> float | None:
    """The rate that the schedule scales; None for an optimizer that sets its own."""
    rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    return max((rate for rate in rates if rate is not None), default=None)


def resolved_settings(keeper: Keeper) -> dict[str, object]:
    """Gin name -> value of what gin leaves open and the run has decided."""
    found: dict[str, object] = {
        "fit.precision": resolved_precision(keeper.job.settings, keeper.ranks.device)
    }
    rate = learning_rate(keeper.state.optimizer)
    if rate is not None:
        found[f"{gin_name()}.lr"] = rate
    return found


def keep_configuration(keeper: Keeper) -> None:
    """Writes config.gin: what the run has read, with what the run decided in place of "auto"."""
    text = keeper.job.configuration.operative(resolved_settings(keeper))
    write_atomically(keeper.job.run.path / "config.gin", text)


def record_start(keeper: Keeper) -> None:
    """Adds to run.json how the run trains, and this launch."""
    job, plan, optimizer = keeper.job, keeper.plan, keeper.state.optimizer
    told = job.run.read_run()
    parameters = list(keeper.state.module.parameters())
    told |= {
        "batch": {
            "per_process": job.batch_size(),
            "accumulated": job.settings.accumulate,
            "global": plan.batch_size,
            "tokens": plan.batch_tokens,
        },
        "epochs": keeper.num_epochs,
        "steps": keeper.epoch_steps,
        "schedule": {
            "name": job.flags.schedule or "constant",
            **dict(zip(WARMUP, schedule_settings() if job.flags.schedule else (), strict=False)),
        },
        "optimizer": type(optimizer).__name__,
        "learning_rate": learning_rate(optimizer),
        "precision": resolved_precision(job.settings, keeper.ranks.device),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
    }
    told["launches"] = [*told.get("launches", []), _launch(keeper, told)]
    write_json(job.run.run_file, told)


def _launch(keeper: Keeper, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": told.get("command"),
        "git_commit": told.get("git_commit"),
        "host": socket.gethostname(),
        "gpu": _gpu(keeper.ranks.device),
        "processes": keeper.ranks.size,
        "started": now(),
        "from_step": keeper.state.step,
    }


def record_end(keeper: Keeper, *, seconds: float) -> None:
    """Adds to run.json what the launch took."""
    told = keeper.job.run.read_run()
    if not told.get("launches"):
        return
    told["launches"][-1] |= {
        "finished": now(),
        "seconds": round(seconds, 3),
        "to_step": keeper.state.step,
        "peak_memory_bytes": peak_memory(keeper.ranks.device),
    }
    write_json(keeper.job.run.run_file, told)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes of this process at most: of the host, and of its GPU where it has one."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        import torch

        found["gpu"] = torch.cuda.max_memory_allocated(device)
    return found


def _gpu(device: torch.device) -> str | None:
    if device.type != "cuda":
        return None
    import torch

    return torch.cuda.get_device_name(device)


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
