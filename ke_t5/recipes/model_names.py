"""Which model class a run is for: `--model_name`, or one that fits the checkpoint and the task."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path

from ke_t5.errors import UserError
from ke_t5.models.choice import AUTO_PREFIX, choose_listed, choose_model
from ke_t5.models.hub import Pretrained, find_pretrained
from ke_t5.models.loader import default_model_name
from ke_t5.recipes.folders import RunFolder

logger = logging.getLogger(__name__)

RESUME_WORDS = ("true", "auto", "best")


def resolve_model_name(flags: Namespace, form: str) -> str:
    """The model's name as `load_model` takes it; what was chosen automatically is reported.

    Raises:
        UserError: there is no checkpoint, or no class of that form for it.
    """
    given = flags.model_name
    is_auto = bool(given) and given.startswith(AUTO_PREFIX)
    if given and not is_auto:
        return given
    if flags.sample and not is_auto:
        return default_model_name(form)
    begun = None if is_auto else _name_of_run(flags.resume)
    if begun is not None:
        return begun
    try:
        found, where = _checkpoint(flags, form)
    except UserError:
        if is_auto or not flags.resume:
            raise
        # A run goes on with its own folder; what it began with may be out of reach by now.
        return default_model_name(form)
    if is_auto:
        choice = choose_listed(given.partition(":")[2], form, found, where=where)
    else:
        choice = choose_model(form, found, where=where)
    if choice.model_name != default_model_name(form):
        logger.info(
            "model class: %s (%s); --model_name names another", choice.model_name, choice.reason
        )
    return choice.model_name


def _name_of_run(resume: str) -> str | None:
    """The model of the run that `--resume PATH` points at; None for any other `--resume`."""
    if not resume or resume in RESUME_WORDS:
        return None
    run = RunFolder.around(resume)
    return run.read_run().get("model_name") if run is not None else None


def _checkpoint(flags: Namespace, form: str) -> tuple[Pretrained, str]:
    """The model that decides, and the flag that names it."""
    if flags.sample:
        kind = "t5" if form == "seq2seq" else "roberta"
        return Pretrained("sample", None, True, {"model_type": kind}), "--sample"
    is_test = not hasattr(flags, "epochs")  # a training writes to --hf_path
    exported = flags.hf_path if is_test and flags.hf_path != "default" else None
    where = "--hf_path" if exported else "--pre_trained_model"
    return find_pretrained(
        Path(exported) if exported else flags.pre_trained_model, where=where
    ), where
