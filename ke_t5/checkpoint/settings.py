"""The settings that a checkpoint stores and that must not change when a run is resumed from it."""

from __future__ import annotations

from typing import Any

from ke_t5.errors import Exit, UserError

SCHEDULE = "get_scheduler (warmup_ratio, warmup_steps, min_ratio)"
PADDING, CUDA_GRAPHS, PRECISION = "fit.padding", "fit.cuda_graphs", "fit.precision"
COMPRESSION = "fit.compress_gradients"
HEAD_START, EMBEDDING_ROWS = "fit.head_start", "fit.embedding_rows"
WINDOW, WINDOW_UNIT = "get_batches.window", "the unit of get_batches.window"
ORDER, LAID_OUT, BY_WINDOW = "order of the rows", "laid out", "drawn window by window"
# The behaviour of the first version, whose checkpoints do not record it.
EARLIER = {
    WINDOW: 50, WINDOW_UNIT: "rows", ORDER: LAID_OUT, PADDING: "rows", CUDA_GRAPHS: False,
    COMPRESSION: False, HEAD_START: None, EMBEDDING_ROWS: "all",
}  # fmt: skip
GLOBAL_BATCH = "global batch (batch_size x processes x accumulate)"
EARLIER_BATCHES = "earlier global batches (until step, rows)"
EARLY_STOPPING, MODEL_CODE = "fit.early_stopping", "code of the model"
EVAL_EVERY, EVAL_EPOCHS = "--eval_every", "epochs between validations"
# The flags that choose the data; a checkpoint has a hash of the data itself.
TRAINING_DATA, VALIDATION_DATA = "training data", "validation data"
DATA_FLAGS = {TRAINING_DATA: "--train_split", VALIDATION_DATA: "--valid_split, --eval_rows"}
# A run may be resumed with another value of these, with a warning.
REPORTED = (EARLY_STOPPING, EVAL_EVERY, EVAL_EPOCHS, MODEL_CODE, CUDA_GRAPHS, EMBEDDING_ROWS)


def check_unchanged(
    before: dict[str, Any],
    now: dict[str, Any],
    *,
    step: int | None = None,
    num_parts: int = 1,
    where: str,
) -> None:
    """Raises UserError for the first setting that has changed.

    Checkpoints of older versions of this package may not have all of them.

    Args:
        step: the checkpoint's step, from which on `now` may allow another global batch.
        num_parts: processes x accumulated batches, by which the global batch is a multiple of
            `--batch_size`.
    """
    if step is not None and [step, before.get(GLOBAL_BATCH)] in (now.get(EARLIER_BATCHES) or []):
        before = {**before, **{name: now[name] for name in (GLOBAL_BATCH, EARLIER_BATCHES)}}
    # Without the flag, older versions wrote null.
    before = {**EARLIER, **before, "--schedule": before.get("--schedule") or "constant"}
    # Padding first: windows of batches follow from it.
    for name in sorted(now, key=lambda name: name != PADDING):
        value = now[name]
        if name == PRECISION and "auto" in (before.get(name), value):
            continue  # the precision in use was kept elsewhere
        if name in before and before[name] != value and name not in REPORTED:
            fix = "resume with the settings of the run, or start a new one without --resume"
            if name == GLOBAL_BATCH:
                rows = before[name]
                is_possible = isinstance(rows, int) and rows % num_parts == 0
                same = f"--batch_size {rows // num_parts}" if is_possible else "the same"
                fix = (
                    f"resume with {same}, add --allow_batch_change, or start a new run without "
                    "--resume"
                )
            elif name == WINDOW:
                fix = (
                    f"add --gin_param {WINDOW}={before[name]}, or start a new run without --resume"
                )
            elif name == WINDOW_UNIT:
                fix = "batches by tokens have changed since then: start a new run without --resume"
            elif name == ORDER:
                fix = "the order of large data has changed: start a new run without --resume"
            what = _difference(name, before[name], value)
            if name in DATA_FLAGS:
                what = f"the {name} has changed since then"
                fix = (
                    f"resume with its files, {DATA_FLAGS[name]} and lengths, or start a new run "
                    "without --resume"
                )
            raise UserError(what, where, fix, Exit.CHECKPOINT)


def reported_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line for each setting of `REPORTED` that has changed."""
    return [
        _difference(name, before[name], now[name])
        for name in REPORTED
        if name in before and name in now and before[name] != now[name]
    ]


def _difference(name: str, before: Any, now: Any) -> str:
    """What has changed; in a mapping, its first changed entry.

    >>> _difference("model.config", {"a": 1, "b": 2}, {"a": 1, "b": 3})
    "model.config['b'] was 2 and is 3 now"
    """
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if keys:
            key = keys[0]
            return _difference(f"{name}[{key!r}]", before.get(key), now.get(key))
    return f"{name} was {before!r} and is {now!r} now"
