"""Chooses the model class for a task's form from the checkpoint, without `--model_name`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from ke_t5.errors import Exit, UserError
from ke_t5.forms import FORMS, MODEL_FORMS
from ke_t5.lookup.families import ENCODER_CLASSES, OUR_PREFIX, READ_BY_DECODER, T5_TYPES
from ke_t5.lookup.hub import WHERE, Pretrained
from ke_t5.lookup.tensor_names import head_for_pooling

AUTO_PREFIX = "transformers:Auto"


@dataclass(frozen=True)
class Choice:
    """A model name as `load_model` takes it, and why it was chosen."""

    model_name: str
    reason: str


def choose_model(form: str, pretrained: Pretrained, *, where: str = WHERE) -> Choice:
    """The model class for a task of that form on this checkpoint.

    In order of preference: the class that the checkpoint was saved with, if it supports the form;
    our T5 heads for T5 and mT5; our text classifier if the checkpoint has no trained pooler; the
    class in transformers' Auto table; our generic encoder head.

    Raises:
        UserError: neither transformers nor we have a class for it.
    """
    row, model_type = FORMS[form], pretrained.config["model_type"]
    if row.generates and pretrained.config.get("is_encoder_decoder") is False:
        raise _no_class(form, pretrained, where)
    suffix = row.auto_class.removeprefix("AutoModel")  # of the names of transformers' classes
    for saved in pretrained.config.get("architectures") or ():
        if form in MODEL_FORMS.get(saved, ()):
            return Choice(saved, "the checkpoint was saved with it")
        if saved.endswith(suffix) and saved == transformers_class(form, model_type):
            return Choice(f"transformers:{saved}", "the checkpoint was saved with it")
    if model_type == "t5" or (not row.generates and _is_t5_encoder(pretrained.config)):
        return Choice(row.default_model, f"the default for {model_type!r}")
    listed = transformers_class(form, model_type)
    if listed is not None:
        return _listed_or_ours(form, pretrained, listed)
    if row.any_encoder_model is not None and _has_backbone(pretrained.config):
        return Choice(row.any_encoder_model, f"transformers has no such class for {model_type!r}")
    raise _no_class(form, pretrained, where)


def _listed_or_ours(form: str, pretrained: Pretrained, listed: str) -> Choice:
    """transformers' class `listed`, unless one of our heads suits the checkpoint better."""
    model_type = pretrained.config["model_type"]
    row = FORMS[form]
    ours = None
    if row.reads_pooler:
        ours = head_for_pooling(pretrained, has_choices=row.has_choices)
    if ours is not None:
        head, reason = ours
        return Choice(head if head in row.models else row.any_encoder_model or head, reason)
    return Choice(f"transformers:{listed}", f"transformers' class for {model_type!r}")


def choose_listed(
    auto_class: str, form: str, pretrained: Pretrained, *, where: str = WHERE
) -> Choice:
    """The class to which the named Auto class of transformers resolves for this checkpoint.

    Raises:
        UserError: the Auto class is not for the task's form, or has no class for the checkpoint.
    """
    row = FORMS[form]
    if row.transformers_table is None or auto_class != row.auto_class:
        fitting = [f"transformers:{row.auto_class}"] if row.transformers_table else []
        raise UserError(
            f"this Auto class is not for a task of {form.replace('_', ' ')}",
            f"--model_name transformers:{auto_class}",
            " or ".join(["drop it", *(f"use {name}" for name in fitting)]),
        )
    model_type = pretrained.config["model_type"]
    listed = transformers_class(form, model_type)
    if listed is None:
        raise UserError(
            f"transformers has no {auto_class} for model type {model_type!r}",
            f"{where} {pretrained.name}",
            "leave --model_name out: our own head is used if there is one",
            Exit.CHECKPOINT,
        )
    return Choice(f"transformers:{listed}", f"{auto_class} for {model_type!r}")


def transformers_class(form: str, model_type: str) -> str | None:
    """The name of transformers' class for a form and a model type, None if there is none."""
    table = FORMS[form].transformers_table
    if table is None:
        return None
    names = getattr(_tables(), table).get(model_type)
    return names if names is None or isinstance(names, str) else names[0]


def _tables() -> Any:
    return importlib.import_module("transformers.models.auto.modeling_auto")


def _is_t5_encoder(config: dict) -> bool:
    model_type = config["model_type"]
    return model_type in T5_TYPES or (
        model_type.startswith(OUR_PREFIX) and "backbone" not in config
    )


def _has_backbone(config: dict) -> bool:
    """Whether our generic encoder heads support a model with this configuration."""
    model_type = config["model_type"]
    if model_type.startswith(OUR_PREFIX) or model_type in (*ENCODER_CLASSES, *READ_BY_DECODER):
        return True
    encoders = _tables().MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    seq2seq = _tables().MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    has_decoder = config.get("is_encoder_decoder") or model_type in seq2seq
    return model_type in encoders or (
        model_type in _tables().MODEL_MAPPING_NAMES and not has_decoder
    )


def _no_class(form: str, pretrained: Pretrained, where: str) -> UserError:
    model_type = pretrained.config["model_type"]
    if FORMS[form].generates:
        kind = f"a {model_type!r} model"
        if pretrained.config.get("is_encoder_decoder") is False:
            kind += " with is_encoder_decoder = false"
        problem = f"{kind} cannot generate, but the task needs an encoder-decoder"
        fix = "choose a T5 or BART model, or the task's form without _gen"
    else:
        problem = (
            f"neither transformers nor we have a {form.replace('_', ' ')} class for {model_type!r}"
        )
        fix = "choose another model, or name your own class with --model_name module:Class"
    return UserError(problem, f"{where} {pretrained.name}", fix, Exit.CHECKPOINT)
