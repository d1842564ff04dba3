"""The origin of a launch's configuration, tokenizer and weights: a run, an export, the sample, or
`--pre_trained_model`. Each `from_...` function returns the configuration with that origin."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.config.resume import ResumeMode
from ke_t5.config.run_config import ModelConfig, ModelOrigin, RunConfig
from ke_t5.distributed import launched_rank
from ke_t5.errors import Exit, UserError
from ke_t5.failure import announce_run_folder
from ke_t5.launchers import is_on_another_node
from ke_t5.lookup.hub import WHERE, Pretrained, find_pretrained, require_weights, saved_class
from ke_t5.lookup.loader import check_form, load_model
from ke_t5.lookup.lora import FILE, read_base
from ke_t5.lookup.tokenizer_fit import fit_tokenizer, read_config
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.model_names import check_class
from ke_t5.recipes.vocabulary import VOCABULARY, bind_and_report, settle_vocabulary
from ke_t5.seals import check_folder
from ke_t5.task.utils import get_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


def find_run(config: RunConfig) -> RunConfig | None:
    """The configuration with the folder of the run to resume; None if there is no run.

    Only `--resume auto` returns None; with other values a missing checkpoint is an error later.
    """
    resume = config.resume
    if resume is None:
        return None
    if resume.path is not None:
        run = RunFolder.around(resume.path)
        if run is not None:
            announce_run_folder(run.path)
            output, own = (one.path.resolve().parents[1] for one in (config.run, run))
            if "output_dir" in config.given and output != own:
                logger.warning("%s is not used: the run is in %s", config.given["output_dir"], own)
            return dataclasses.replace(config, run=run)
    if resume.mode is ResumeMode.AUTO and not config.run.has_checkpoint():
        return None
    return config


def from_run(config: RunConfig) -> RunConfig:
    """Uses the run's own configuration and tokenizer (`--resume`)."""
    run = config.run
    if not (run.model / "config.json").exists():
        what = "no run was saved there"
        fix = "give the flags of that run (--task, --model_name, --pre_trained_model, --output_dir)"
        if is_on_another_node():  # process 0 may well see it
            what = f"process {launched_rank()} on {os.uname().nodename} sees no run there"
            fix = f"put --output_dir on a disk that all nodes share, or {fix}"
        where = f"--resume {config.resume} ({run.path})"
        if config.resume is not None and config.resume.path is not None:
            what, where = f"no run there, nor in {run.path}", f"--resume {config.resume}"
            fix = "give the folder of a run, or of a checkpoint in one"
        raise UserError(what, where, fix, Exit.CHECKPOINT)
    is_sealed = run.read_run().get("sealed", False)
    check_folder(run.model, where=f"--resume {config.resume}:", is_sealed=is_sealed)
    config = use_tokenizer(config, run.model, flag="--resume")
    origin = dataclasses.replace(
        config.origin, folder=str(run.model), has_weights=False, is_resumed=True,
        base=_base_of_run(config),
    )  # fmt: skip
    return dataclasses.replace(config, origin=origin, model=_model_of_run(config))


def _base_of_run(config: RunConfig) -> str | None:
    """The folder or hub name of the frozen weights of a run with adapters: as recorded, or
    `--pre_trained_model` if given. None if the checkpoints contain them.

    Raises:
        UserError: there is no such model.
    """
    base, where = read_base(config.run.model), f"{config.run.model / FILE}: base"
    if base is not None and "pre_trained_model" in config.given:
        base, where = config.model.pre_trained_model, WHERE
    if base is not None:
        require_weights(find_pretrained(base, where=where), where=where)
    return base


def _model_of_run(config: RunConfig) -> ModelConfig:
    """The model that the run began with, which `--resume PATH` need not repeat and the model card
    names."""
    names = ("pre_trained_model", "from_scratch")
    recorded = {name: x for name, x in config.run.read_run().items() if name in names}
    for name, value in recorded.items():
        is_base = name == "pre_trained_model" and read_base(config.run.model) is not None
        if name in config.given and getattr(config.model, name) != value and not is_base:
            logger.warning("%s is not used: the run began with %r", config.given[name], value)
    return dataclasses.replace(config.model, **recorded)


def from_export(config: RunConfig) -> RunConfig:
    """Uses an exported folder (`--hf_path`)."""
    folder = config.export_folder
    announce_run_folder(config.run.path)
    found = find_pretrained(folder, where="--hf_path")
    require_weights(found, where="--hf_path")
    check_class(config, saved_class(found), f"--hf_path {folder}")
    config = use_tokenizer(config, folder, flag="--hf_path")
    return dataclasses.replace(config, origin=ModelOrigin(str(folder), may_draw_head=False))


def from_sample(config: RunConfig) -> RunConfig:
    """Uses a tiny model of the requested class (`--sample`)."""
    from ke_t5.sample import sample_model_dir

    folder = sample_model_dir(config.data.folders.cache, backbone_type(load_class(config)))
    config = use_tokenizer(config, folder, flag="--sample")
    origin = dataclasses.replace(config.origin, folder=str(folder), has_weights=False)
    return dataclasses.replace(config, origin=origin)


def from_pre_trained(config: RunConfig, *, from_scratch: bool) -> RunConfig:
    """Uses `--pre_trained_model`, with its weights unless it starts from scratch."""
    pretrained = find_pretrained(config.origin.folder)
    if not from_scratch:
        require_weights(pretrained)
    where = f"--pre_trained_model {pretrained.name}"
    read_config(pretrained.config, where)  # otherwise the tokenizer's class fails on it
    gin = settle_vocabulary(config.gin, pretrained)
    fit_vocabulary(pretrained, where=where)
    origin = dataclasses.replace(config.origin, has_weights=not from_scratch)
    return dataclasses.replace(config, origin=origin, gin=gin)


def load_class(config: RunConfig) -> type[PreTrainedModel]:
    """The model's class; raises UserError if it does not support the form of the task."""
    model_class = load_model(config.model.name)
    check_form(model_class, config.task.form)
    return model_class


def backbone_type(model_class: type[PreTrainedModel]) -> str:
    """The `model_type` of the backbone of a class: T5 for heads on T5's encoder, RoBERTa for
    generic encoder heads and for classes that do not declare one."""
    config_class = model_class.config_class
    for base in getattr(config_class, "__mro__", ()):
        module = base.__module__
        if module.startswith("transformers.models.") and getattr(base, "model_type", ""):
            return base.model_type
    own_type = getattr(config_class, "model_type", "")
    return own_type if own_type and not hasattr(config_class, "converted") else "roberta"


def use_tokenizer(config: RunConfig, folder: Path, *, flag: str) -> RunConfig:
    """The configuration with the tokenizer of a folder, adjusted to the model there."""
    gin = bind_and_report(config.gin, VOCABULARY, str(folder), flag)
    fit_vocabulary(find_pretrained(folder, where=flag), where=f"{flag} {folder}")
    return dataclasses.replace(config, gin=gin)


def fit_vocabulary(pretrained: Pretrained, *, where: str) -> None:
    """Loads the tokenizer and adjusts it to the model; logs the changes."""
    for line in fit_tokenizer(get_vocabulary(), pretrained.config, where=where):
        logger.info(line)
