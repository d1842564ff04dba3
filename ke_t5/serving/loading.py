"""Loads an export, or a checkpoint of a run, for prediction.

torch and transformers are imported inside the functions, so that a wrong folder or task is reported
before they load.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.config.gin_config import Configuration
from ke_t5.config.resume import BEST, LAST, ResumeRequest
from ke_t5.errors import Exit, UserError
from ke_t5.lookup.choice import choose_model
from ke_t5.lookup.hub import (
    ADAPTER,
    Pretrained,
    find_pretrained,
    no_folder,
    require_weights,
    saved_class,
)
from ke_t5.lookup.loader import check_form, check_model_name, choose_form, load_model
from ke_t5.lookup.lora import FILE, read_base, read_lora
from ke_t5.lookup.task_record import RECORD, TaskRecord, read_record
from ke_t5.lookup.tokenizer_fit import fit_tokenizer, register_type
from ke_t5.own_data import OwnData, register
from ke_t5.pipe import EvaluationHelper, Mixture, Task, get_task
from ke_t5.pipe.mixture import MixtureRegistry
from ke_t5.pipe.task import TaskRegistry
from ke_t5.seals import check_folder
from ke_t5.serving.predictor import VOCABULARY, Predictor
from ke_t5.task.thresholds import task_with_thresholds
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.settings import get_fit_settings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

SEED = 42  # as in a test, for tasks whose generation samples


@dataclass(frozen=True)
class Found:
    """A trained model on disk.

    Attributes:
        folder: contains the configuration and the tokenizer; for an export, also the weights.
        run: the run's folder; None for an export.
        where: the flag that names the model, for messages.
        record: the folder's task record; None if an earlier version wrote the folder.
    """

    folder: Path
    run: Path | None
    where: str
    record: TaskRecord | None


def load_predictor(
    folder: str | Path,
    *,
    task: str | None = None,
    model_name: str | None = None,
    resume: ResumeRequest | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    precision: str = "auto",
    flag: str = "--hf_path",
) -> Predictor:
    """The predictor of an exported folder or a run.

    Args:
        task: the task's name; default: the one recorded in the folder.
        model_name: the model class, as for `--model_name`; default: the class that saved the
            weights.
        resume: the checkpoint of a run; default: the best one, or the last if there is no best.
        device: "cpu", "cuda", "cuda:1"; default: a GPU if there is one.
        batch_size: rows per batch; default: the task's.
        precision: "fp32", "bf16", or "auto": bf16 if the GPU supports it.
        flag: the flag that names the folder, for messages.

    Raises:
        UserError: no model, a task that the model was not trained on, an unknown device, or
            `resume` with an export.
    """
    from torch import nn

    found = find_model(folder, flag=flag)
    if resume is not None and found.run is None:
        what, fix = f"{folder} is an export, which has no checkpoints", "drop --resume"
        raise UserError(what, "--resume", fix)
    known = find_task(found, task)
    pretrained = find_pretrained(found.folder, where=found.where)
    if found.run is None:
        require_weights(pretrained, where=found.where)
    name = _model_name(found, pretrained, known, model_name)
    known = known.in_form(_form(found, known, name))
    known = known.with_prefix(found.record.prefix_of(known.name) if found.record else ())
    check_labels(pretrained, known)
    bind_tokenizer(found, pretrained)
    target = _device(device)
    model = _load_weights(_built(found, known, name), found, resume)
    nn.Module.to(model, target)  # transformers types its own `to` for 8-bit models only
    settings = _settings_of(found, known)
    tuned = settings.get("thresholds")
    if isinstance(tuned, dict):
        known = task_with_thresholds(known, tuned.get("values"))
    helper = EvaluationHelper(known, seed=SEED, **_generation(known, settings.get("generation")))
    if helper.is_teacher_forced:
        helper = EvaluationHelper(known, seed=SEED, model_fn="generate")
    helper.check(model)
    return Predictor(
        known,
        model,
        helper,
        lengths={**known.defaults.sequence_length, **settings.get("sequence_length", {})},
        vocabulary=str(found.folder),
        batch_size=batch_size or known.defaults.batch_size,
        fit=dataclasses.replace(get_fit_settings(), precision=precision),
    )


# ------------------------------------------------------------------------- the folder and its task


def find_model(folder: str | Path, *, flag: str = "--hf_path") -> Found:
    """The export or the run in a folder; the checksums of its small files are verified.

    Args:
        flag: the flag that names the folder, for messages.

    Raises:
        UserError: the folder is neither, or its files were changed.
    """
    folder = Path(folder).expanduser()
    if (folder / "model" / "config.json").is_file():
        where = f"--run {folder}"
        is_sealed = run_facts(folder).get("sealed") is True
        check_folder(folder / "model", where="--run", is_sealed=is_sealed)
        return Found(folder / "model", folder, where, read_record(folder / "model"))
    if folder.is_dir() and not any((folder / n).is_file() for n in ("config.json", ADAPTER)):
        runs = sorted(path.parent.parent for path in folder.glob("*/*/model/config.json"))
        fix = f"did you mean {runs[0]}?" if runs else "give an exported folder, or a run's"
        what = "neither an export nor a run"
        raise UserError(what, f"{flag} {folder}", fix, Exit.CHECKPOINT)
    if flag == "--run" and not folder.is_dir():  # a run is never on the hub
        raise no_folder(folder, f"{flag} {folder}")
    find_pretrained(folder, where=flag)  # raises if there is no model, or it was changed
    return Found(folder, None, flag, read_record(folder))


def run_facts(run: Path) -> dict[str, Any]:
    """The content of a run's `run.json`; {} if it cannot be read."""
    try:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def find_task(found: Found, name: str | None) -> Task:
    """The task of that name; by default the one that the model was trained on.

    Raises:
        UserError: the task is not recorded, not registered, or a mixture.
    """
    record = found.record
    if record and record.own_data and name in (None, record.task):
        return register(OwnData.from_json(record.own_data, str(found.folder / RECORD)))
    name = name or (record.task if record else None) or _older_name(found)
    if name is None:
        what = "does not say which task it was trained on"
        raise UserError(what, place_of(found), "add --task NAME", Exit.CHECKPOINT)
    is_known = name in {*TaskRegistry.names(), *MixtureRegistry.names()}
    if not is_known and record and record.task == name and record.modules:
        fix = f"add --module_import {' --module_import '.join(record.modules)}"
        raise UserError("defined in a module that is not imported", f"--task {name}", fix)
    task = get_task(name)
    if isinstance(task, Mixture):
        members = ", ".join(member.name for member in task.members)
        raise UserError(f"a mixture of {members}", f"--task {name}", "name one of these")
    return task


def _older_name(found: Found) -> str | None:
    """The task's name in a folder that an earlier version wrote; None if it has none."""
    if found.run is not None:
        name = run_facts(found.run).get("task")
        return name if isinstance(name, str) else None
    config = find_pretrained(found.folder, where=found.where).config
    names = [*(config.get("task_specific_params") or {})]
    return names[0] if len(names) == 1 and names[0] in TaskRegistry.names() else None


def place_of(found: Found) -> str:
    """The flag and the folder with which the user named the model."""
    return found.where if found.run else f"{found.where} {found.folder}"


# -------------------------------------------------------------------------------------- the model


def _model_name(found: Found, pretrained: Pretrained, task: Task, given: str | None) -> str:
    """The name of the model class, as `load_model` expects it.

    Raises:
        UserError: the class that saved the weights is neither ours nor transformers'.
    """
    if given is not None:
        return given
    saved = saved_class(pretrained)
    if found.run is not None:
        saved = saved or run_facts(found.run).get("model_name")
    chosen = choose_model(task.form, pretrained, where=found.where).model_name if not saved else ""
    name = saved or chosen
    is_ours = ":" not in name or name.startswith("transformers:")
    if not is_ours:
        what = "its model class is neither ours nor transformers'"
        fix = f"add --model_name {name} if you trust that code"
        raise UserError(what, place_of(found), fix, Exit.CHECKPOINT)
    return name


def _form(found: Found, task: Task, model_name: str) -> str:
    recorded = found.record.form if found.record else None
    return recorded if recorded in task.forms else choose_form(model_name, *task.forms)


def check_labels(pretrained: Pretrained, task: Task) -> None:
    """Raises UserError if the model's labels are not the task's."""
    names = pretrained.config.get("id2label")
    if task.labels is None or not isinstance(names, dict):
        return
    known = [names[key] for key in sorted(names, key=int)]
    if known != list(task.labels):
        what = f"the model's labels are {', '.join(map(str, known[:4]))}, the task's "
        what += ", ".join(task.labels[:4])
        fix = "name the task that the model was trained on"
        raise UserError(what, f"--task {task.name}", fix, Exit.CHECKPOINT)


def bind_tokenizer(found: Found, pretrained: Pretrained) -> None:
    """Binds the folder's tokenizer as the vocabulary of the tasks, and fits it to the model."""
    register_type(pretrained.config["model_type"])
    Configuration.of([]).with_binding(VOCABULARY, str(found.folder), found.where)
    for line in fit_tokenizer(get_vocabulary(), pretrained.config, where=place_of(found)):
        logger.info(line)


def _built(found: Found, task: Task, name: str) -> PreTrainedModel:
    from ke_t5.models.build import build_model

    check_model_name(name)
    model_class = load_model(name)
    check_form(model_class, task.form)
    labels: dict[str, Any] = {}
    if task.labels is not None:
        labels["id2label"] = dict(enumerate(task.labels))
        labels["label2id"] = {name: i for i, name in enumerate(task.labels)}
    if task.problem_type is not None and task.labels is not None:
        labels["problem_type"] = task.problem_type
    base = read_base(found.folder) if found.run is not None else None
    own = f"{found.folder / FILE}: base" if base else "--run"
    model, note = build_model(
        model_class,
        found.folder,
        from_scratch=found.run is not None and base is None,
        weights=base,
        seed=SEED,
        task_config=labels,
        tokenizer=get_vocabulary(),
        new_head=base is not None,
        where=found.where if found.run is None else own,
    )
    if found.run is not None:
        _add_adapters(model, found, base)
    if found.run is None:
        logger.info(note)
    return model


def _add_adapters(model: PreTrainedModel, found: Found, base: str | None) -> None:
    """Adds the adapters of a run that was trained with `--lora`."""
    lora = read_lora(found.folder)
    if lora is None:
        return
    from ke_t5.frozen_weights import leave_out_base
    from ke_t5.models.lora import add_lora

    add_lora(model, lora, seed=SEED)
    if base is not None:
        leave_out_base(model)


def _load_weights(
    model: PreTrainedModel, found: Found, resume: ResumeRequest | None
) -> PreTrainedModel:
    """The model with the weights of a run's checkpoint; an export's weights are loaded already."""
    if found.run is None:
        return model
    from ke_t5.checkpoint.checkpoints import find_checkpoint, load_checkpoint

    weights = found.run / "weights"
    has_best = (weights / "best.json").exists()
    checkpoint = find_checkpoint(weights, resume or (BEST if has_best else LAST))
    if checkpoint is None:
        what = "no complete checkpoint"
        raise UserError(what, found.where, "train first, or name an export", Exit.CHECKPOINT)
    load_checkpoint(checkpoint, model=model, is_checked=True)
    logger.info("predicting with %s", checkpoint)
    return model


def _settings_of(found: Found, task: Task) -> Mapping[str, Any]:
    members = found.record.members if found.record else {}
    return members.get(task.name, {})


def _generation(task: Task, recorded: Any) -> dict[str, Any]:
    return dict(recorded) if isinstance(recorded, dict) else {}


def _device(name: str | None) -> torch.device:
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fix = "write cpu, cuda, or cuda:1"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"no such device ({reason:.60})", f"--device {name}", fix) from error
    return device
