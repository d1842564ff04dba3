"""Shares a training: pushes its export to the hub, checks its experiment trackers."""

from __future__ import annotations

from ke_t5.config.run_config import RunConfig
from ke_t5.exporting.hub import check_push, push
from ke_t5.extras import require_extra
from ke_t5.launchers import launched_rank
from ke_t5.recipes import console

MODULES = {"wandb": "wandb", "mlflow": "mlflow", "tensorboard": "tensorboard"}


def check_sharing(config: RunConfig) -> None:
    """Raises UserError before the training for a missing token or library."""
    for name in config.flags["track"]:
        require_extra(f"--track {name}", name, MODULES[name])
    if config.flags["push_to_hub"] and launched_rank() == 0:
        check_push(config.flags["push_to_hub"])


def push_export(config: RunConfig, *, is_main: bool) -> None:
    """Uploads the export, if `--push_to_hub` is given."""
    name = config.flags["push_to_hub"]
    if name and is_main:
        address = push(config.export_folder, name, is_public=config.flags["public"])
        console.tell(f"pushed to {address}")
