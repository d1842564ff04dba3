"""The model class of a run: `--model_name`, or one that fits the checkpoint and the task."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path

from ke_t5.config.run_config import RunConfig
from ke_t5.errors import Exit, UserError
from ke_t5.forms import FORMS
from ke_t5.lookup.choice import AUTO_PREFIX, choose_listed, choose_model
from ke_t5.lookup.hub import Pretrained, find_pretrained
from ke_t5.lookup.loader import default_model_name, see_current_folder
from ke_t5.lookup.source import find_spec
from ke_t5.recipes.folders import RunFolder

logger = logging.getLogger(__name__)


def resolve_model_name(flags: Namespace, form: str) -> str:
    """The model's name as `load_model` takes it; logs an automatic choice.

    Raises:
        UserError: there is no checkpoint, or no class of that form for it.
    """
    given = flags.model_name
    is_auto = bool(given) and given.startswith(AUTO_PREFIX)
    if given and not is_auto:
        return given
    begun = None if is_auto else _name_of_run(flags)
    if begun is not None:
        return begun
    if flags.sample and not is_auto and _exported(flags) is None:
        return default_model_name(form)
    try:
        found, where = _checkpoint(flags, form)
    except UserError:
        if is_auto or not flags.resume:
            raise
        # A run continues from its own folder; its pre-trained model may no longer be available.
        return default_model_name(form)
    if is_auto:
        choice = choose_listed(given.partition(":")[2], form, found, where=where)
    else:
        choice = choose_model(form, found, where=where)
    if choice.model_name != default_model_name(form):
        logger.info(
            "model class: %s (%s); --model_name overrides it", choice.model_name, choice.reason
        )
    return choice.model_name


def _name_of_run(flags: Namespace) -> str | None:
    """The model class of the run that is resumed or tested; None unless it is clear which run that
    is."""
    if flags.sample and not (flags.resume and flags.resume.path):
        return None
    if flags.resume and flags.resume.path:
        run = RunFolder.around(flags.resume.path)
        if run is None:
            return None
        _require_foreign_code(name := run.read_run().get("model_name"), run)
        return name
    if not flags.resume and (not _is_test(flags) or flags.hf_path or flags.from_scratch):
        return None
    runs = RunFolder.all_of(flags.output_dir, flags.pre_trained_model, flags.task)
    names = {run.read_run().get("model_name") for run in runs}
    return names.pop() if len(names) == 1 else None


def _require_foreign_code(name: str | None, run: RunFolder) -> None:
    """Raises UserError if a run's record names a module in the run's folder, which would execute
    code that came with the checkpoint."""
    see_current_folder()
    spec = find_spec(name.partition(":")[0]) if name and ":" in name else None
    if spec is None or not spec.origin:
        return
    if Path(spec.origin).resolve().is_relative_to(run.path.resolve()):
        raise UserError(
            f"its model_name {name!r:.60} is a module in the run's own folder",
            str(run.run_file),
            "review that code, then start in another folder with the run's on PYTHONPATH",
            Exit.CHECKPOINT,
        )


def _is_test(flags: Namespace) -> bool:
    return not hasattr(flags, "epochs")


def _exported(flags: Namespace) -> str | None:
    """The exported folder that a test reads; None for a training, which writes to `--hf_path`."""
    return flags.hf_path if _is_test(flags) and flags.hf_path != "default" else None


def check_class(config: RunConfig, saved: str | None, where: str) -> None:
    """Checks that the tested weights were saved by the class of the run; warns if they were not,
    but `--model_name` was given.

    Args:
        saved: the class that saved them, as `--model_name` takes it; None if unknown.
        where: the weights, for the message.

    Raises:
        UserError: they were not, and `--model_name` was not given.
    """
    name = config.model.class_name
    if saved is None or saved.rpartition(":")[2] == name:
        return
    if "model_name" not in config.given:
        what = f"its weights were saved by {saved}, not by {name}"
        raise UserError(what, where, f"add --model_name {saved}", Exit.CHECKPOINT)
    logger.warning(
        "--model_name loads weights of %s as %s, so the scores are not those of the trained model",
        saved, name,
    )  # fmt: skip


def _checkpoint(flags: Namespace, form: str) -> tuple[Pretrained, str]:
    """The checkpoint that determines the class, and the flag that names it."""
    exported = _exported(flags)
    if flags.sample and exported is None:
        kind = "t5" if FORMS[form].generates else "roberta"
        return Pretrained("sample", None, True, {"model_type": kind}), "--sample"
    where = "--hf_path" if exported else "--pre_trained_model"
    return find_pretrained(
        Path(exported) if exported else flags.pre_trained_model, where=where
    ), where
