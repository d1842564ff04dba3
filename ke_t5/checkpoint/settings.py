"""The settings that a checkpoint keeps, and that must not differ when a run is resumed from it."""

from __future__ import annotations

from typing import Any

from ke_t5.errors import Exit, UserError

SCHEDULE = "get_scheduler (warmup_ratio, warmup_steps, min_ratio)"
WINDOW, WINDOW_UNIT = "get_batches.window", "the unit of get_batches.window"
# What the first version did; its checkpoints do not say so.
EARLIER = {WINDOW: 50, WINDOW_UNIT: "rows"}


def check_unchanged(before: dict[str, Any], now: dict[str, Any], *, where: str) -> None:
    """Raises UserError for the first setting that has changed.

    A checkpoint of an older version of this package may not know all of them.
    """
    # Without the flag, older versions wrote null.
    before = {**EARLIER, **before, "--schedule": before.get("--schedule") or "constant"}
    for name, value in now.items():
        if name == "fit.precision" and "auto" in (before.get(name), value):
            continue  # config.gin of a run has what "auto" came to
        if name in before and before[name] != value:
            fix = "resume with the settings of the run, or start a new one without --resume"
            if name == WINDOW:
                fix = (
                    f"add --gin_param {WINDOW}={before[name]}, or start a new run without --resume"
                )
            elif name == WINDOW_UNIT:
                fix = "batches by tokens have changed since then: start a new run without --resume"
            raise UserError(
                f"{name} was {before[name]!r} and is {value!r} now", where, fix, Exit.CHECKPOINT
            )
