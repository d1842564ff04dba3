"""Builds, checks and exports the model of a run, and builds its optimizer."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from ke_t5.checkpoint.checkpoints import find_checkpoint, load_checkpoint, read_run_progress
from ke_t5.checkpoint.closing import best_of
from ke_t5.config.resume import BEST, LAST
from ke_t5.config.run_config import RunConfig, with_default_warmup
from ke_t5.distributed import Ranks
from ke_t5.errors import Exit, UserError
from ke_t5.frozen_weights import leave_out_base
from ke_t5.lookup.hub import WHERE
from ke_t5.lookup.lora import LoraSettings, read_lora
from ke_t5.models import build, export
from ke_t5.models.lora import add_lora, has_lora, merge_lora
from ke_t5.pipe import IGNORED, Examples, Mixture, Task
from ke_t5.recipes.head_start import check_head
from ke_t5.recipes.model_origin import load_class
from ke_t5.recipes.task_record import task_record, thresholds_of
from ke_t5.recipes.task_splits import helper_of
from ke_t5.report.model_card import model_card
from ke_t5.sharding import outline_of
from ke_t5.task.inputs import input_form
from ke_t5.task.thresholds import with_thresholds
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.optimizer_config import build_optimizer
from ke_t5.train.settings import recompute_activations

logger = logging.getLogger(__name__)


def check_class(config: RunConfig) -> None:
    """Raises UserError for gin settings that the model's class rejects, whatever the data."""
    model_class = load_class(config)
    if config.fit.head_start is not None:
        check_head(model_class)
    build.check_config(
        model_class,
        config.origin.folder,
        task_config=task_config(config.task),
        model_config=model_config(config, model_class),
    )
    for task in config.task.members:
        helper_of(config, task).check_class(model_class)


def task_config(task: Task | Mixture) -> dict[str, Any]:
    """The task's entries in the model's configuration."""
    if task.labels is None:
        return {}
    names = dict(enumerate(task.labels))
    values: dict[str, Any] = {
        "id2label": names,
        "label2id": {name: i for i, name in names.items()},
    }
    if task.problem_type is not None:
        values["problem_type"] = task.problem_type
    return values


def model_config(config: RunConfig, model_class: type[PreTrainedModel]) -> dict[str, Any]:
    """The changes of task and user to the model's configuration."""
    is_new = config.origin.may_draw_head and not config.origin.is_resumed
    of_task = config.task.model_config if is_new else {}
    known = {name: x for name, x in of_task.items() if hasattr(model_class.config_class, name)}
    return {**known, **config.model.changes}


def build_model(config: RunConfig, ranks: Ranks) -> PreTrainedModel:
    """The model on this rank's device; logs how it was loaded in one line."""
    model = _with_adapters(config, _built(config))
    if lora_of(config) is not None and (config.origin.has_weights or config.origin.base):
        leave_out_base(model)
    if not (config.is_sharded and ranks.size > 1):  # otherwise layers are moved as shards
        nn.Module.to(model, ranks.device)  # transformers types its own `to` for 8-bit models only
    return model


def build_divided(config: RunConfig, ranks: Ranks) -> PreTrainedModel:
    """The model of a training that shards its weights (`Ranks.shard`): with weights on rank 0, on
    the meta device elsewhere unless that gives a different model."""
    model = build_model(config, ranks) if ranks.is_main else None
    outline = ranks.broadcast(None if model is None else outline_of(model))
    if model is not None:
        return model
    origin = dataclasses.replace(config.origin, has_weights=False, base=None)
    with torch.device("meta"):
        model = _built(dataclasses.replace(config, origin=origin))
        model.drawn_parameters = outline.drawn  # pyright: ignore[reportArgumentType]
        model = _with_adapters(config, model)
    if outline_of(model).tensors != outline.tensors:
        return build_model(config, ranks)
    if outline.base is not None:
        leave_out_base(model, outline.base)
    return model


def _built_again(config: RunConfig, ranks: Ranks) -> PreTrainedModel:
    """The whole model on the CPU, without the log lines, which were printed before."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return build_model(config, dataclasses.replace(ranks, device=torch.device("cpu")))
    finally:
        logger.setLevel(level)


def _built(config: RunConfig) -> PreTrainedModel:
    """The model on the CPU, without adapters."""
    model_class = load_class(config)
    is_export = bool(config.hf_path) and config.origin.folder == str(config.export_folder)
    model, note = build.build_model(
        model_class,
        config.origin.folder,
        from_scratch=not (config.origin.has_weights or config.origin.base),
        weights=config.origin.base,
        seed=config.seed,
        task_config=task_config(config.task),
        model_config=model_config(config, model_class),
        tokenizer=get_vocabulary(),
        new_head=config.origin.may_draw_head,
        where="--hf_path" if is_export else WHERE,
    )
    if not config.origin.is_resumed:  # otherwise the weights come from a checkpoint, later
        logger.info(note)
    return model


def _with_adapters(config: RunConfig, model: PreTrainedModel) -> PreTrainedModel:
    """The model with the adapters of the run, if it has any."""
    lora = lora_of(config)
    if lora is not None:
        logger.info(add_lora(model, lora, seed=config.seed))
    if config.fit.gradient_checkpointing:
        recompute_activations(model)
    return model


def lora_of(config: RunConfig) -> LoraSettings | None:
    """The adapters of the run: those of the resumed or tested run, otherwise the requested ones.

    Raises:
        UserError: the run has no adapters, or other ones than those requested.
    """
    requested = config.model.lora
    if not config.origin.is_resumed:
        return requested
    own = read_lora(config.origin.folder)
    if requested not in (None, own):
        what = f"was started with {'different' if own else 'no'} adapters"
        fix = "resume with the lora settings of the run, or start a new one without --resume"
        raise UserError(what, str(config.run.path), fix, Exit.CHECKPOINT)
    return own


def start_at_mean(config: RunConfig, module: PreTrainedModel, train: Examples) -> None:
    """Sets the bias of a new regression head to the mean of the training labels.

    Otherwise KLUE STS spends its first hundred updates finding that mean. Does nothing to a head
    that was loaded, or in a resumed run.
    """
    if config.origin.is_resumed or config.task.problem_type != "regression":
        return
    drawn: set[str] | None = getattr(module, "drawn_parameters", None)
    body = getattr(module, module.base_model_prefix, None)
    inside = set() if body is None or body is module else set(body.modules())
    heads = [
        linear
        for name, linear in module.named_modules()
        if isinstance(linear, nn.Linear) and linear.out_features == 1 and linear.bias is not None
        and linear not in inside and (drawn is None or f"{name}.bias" in drawn)
    ]  # fmt: skip
    if heads:
        labels = train.columns["labels"].values[train.places]
        mean = float(labels[labels != IGNORED].mean())
        nn.init.constant_(heads[-1].bias, mean)
        logger.info("the head starts at the mean of the training labels, %.3g", mean)


def with_optimizer(
    config: RunConfig, module: PreTrainedModel, steps: int
) -> tuple[RunConfig, Optimizer]:
    """The configuration with the model's default learning rate and warm-up where neither flag nor
    gin sets them, and the optimizer."""
    is_fresh = config.model.from_scratch or config.sample
    rate = default_learning_rate(module, from_scratch=is_fresh, is_lora=has_lora(module))
    config = dataclasses.replace(config, optimizer=config.optimizer.with_default_rate(rate))
    optimizer = build_optimizer(config.optimizer, module)
    if _takes_warmup(config, module, optimizer):
        config = with_default_warmup(config, steps)
    return config, optimizer


def default_learning_rate(
    module: PreTrainedModel, *, from_scratch: bool, is_lora: bool = False
) -> float:
    """Common practice: 5e-5 for BERT and similar encoders, 3e-4 for T5, 1e-3 from scratch.

    Adapters need more: the LoRA paper trains RoBERTa-base at 5e-4, papers on decoders use 2e-4.
    """
    if from_scratch:
        return 1e-3
    if is_lora:
        return 1e-3 if is_t5(module) else 2e-4 if only_decodes(module) else 5e-4
    return 3e-4 if is_t5(module) else 5e-5


def only_decodes(module: PreTrainedModel) -> bool:
    """Whether the body is a decoder, such as Qwen's."""
    config = getattr(module.config, "backbone", None) or module.config
    kind = getattr(config.get_text_config(), "model_type", "")
    causal, masked = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return kind in causal and kind not in masked


def is_t5(module: PreTrainedModel) -> bool:
    """Whether the model, or the encoder under one of our heads, is a T5; T5Gemma is a Gemma."""
    # All our own types contain "t5"; generic encoder heads have the encoder's as `backbone`.
    config = getattr(module.config, "backbone", None) or module.config
    return "t5" in config.model_type and "gemma" not in config.model_type


def _takes_warmup(config: RunConfig, module: PreTrainedModel, optimizer: Optimizer) -> bool:
    """Whether the run fine-tunes an encoder other than T5 with an optimizer that has a rate."""
    is_fresh = config.model.from_scratch or config.sample or is_t5(module)
    has_own_rate = any(group["lr"] is None for group in optimizer.param_groups)
    return not (is_fresh or has_own_rate or module.config.is_encoder_decoder)


def export_best(
    config: RunConfig, module: PreTrainedModel, ranks: Ranks, *, settings: Mapping[str, Any]
) -> None:
    """Writes the best checkpoint as a folder for `from_pretrained` (`--hf_path`).

    Args:
        settings: the settings that weights and scores depend on, for the model card.
    """
    if ranks.is_main:
        has_best = config.run.has_best()
        if not has_best:
            logger.warning("no validation score to choose by: exporting the last checkpoint")
        checkpoint = find_checkpoint(config.run.weights, BEST if has_best else LAST)
        assert checkpoint is not None  # only `auto` may find none
        if config.is_sharded and ranks.size > 1:
            module = _built_again(config, ranks)
        load_checkpoint(checkpoint, model=module, is_checked=True)
        merge_lora(module)
        best = best_of(read_run_progress(checkpoint))
        tokenizer, scores = get_vocabulary(), best["scores"] if best else {}
        cuts = {name: one["values"] for name, one in thresholds_of(config.run.model).items()}
        used = dataclasses.replace(config, task=with_thresholds(config.task, cuts))
        card = model_card(used, module, tokenizer, scores, settings)
        forms = {task.name: input_form(task, tokenizer) for task in config.task.members}
        module.config.task_specific_params = {
            name: {"input": form} for name, form in forms.items() if form is not None
        }
        record = task_record(config, type(module))
        folder = export.export(module, tokenizer, config.export_folder, card=card, record=record)
        logger.info("exported %s to %s", checkpoint.name, folder)
    ranks.barrier()
