"""Training loops over a few rows, on the toy model or another."""

from __future__ import annotations

from functools import partial

import torch

from ke_t5.distributed import Ranks
from ke_t5.forms import FORMS
from ke_t5.models.unpadding import Unpadding
from ke_t5.pipe import IGNORED, Feature, get_batches, map_over_dataset, tokenize
from ke_t5.task.choices import side_by_side
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.model_checks import has_unused_parameters
from ke_t5.train.settings import get_fit_settings
from support.helpers import folders, task_on, toy_tokenizer
from support.toy_model import toy_model

# Lengths and numbers of label tokens vary widely between rows.
ROWS = [{"text": " ".join("가나다라마"[: 1 + i % 5]), "label": i % 3} for i in range(23)]


@map_over_dataset
def take_label(example):
    return {**example, "labels": example["label"]}


@map_over_dataset
def label_some_tokens(example):
    """Row 3 and similar rows have no counted label at all."""
    ids = example["input_ids"]
    labels = [i % 3 if i % 2 and example["label"] else IGNORED for i in range(len(ids))]
    return {**example, "labels": labels}


def examples_in(path, *, per_token=False):
    step = label_some_tokens if per_token else take_label
    features = {
        "input_ids": Feature(toy_tokenizer, pad=None),
        "labels": Feature(pad=IGNORED, num_values=3, rank=int(per_token)),
    }
    steps = [partial(tokenize, source="text", limit="inputs"), step]
    return task_on(ROWS, steps, output_features=features).get_dataset(
        "train", folders=folders(path)
    )


@map_over_dataset
def mark_labels(example):
    return {**example, "labels": [float(example["label"] == i) for i in range(2)] + [1.0]}


@map_over_dataset
def offer_choices(example):
    """The text, or its first token: the choices differ in length, from row to row too."""
    ids = example["input_ids"]
    columns = side_by_side([ids, ids[:1]], IGNORED)
    return {**example, "input_ids": columns, "labels": example["label"] % 2}


def examples_of_form(path, form):
    """The same rows with several labels each, or as two choices each."""
    is_choice = FORMS[form].has_choices
    features = {
        "input_ids": Feature(toy_tokenizer, pad=None, rank=2 if is_choice else 1),
        "labels": Feature(rank=0, num_values=2) if is_choice else Feature(dtype="float32"),
    }
    steps = [partial(tokenize, source="text", limit="inputs")]
    steps.append(offer_choices if is_choice else mark_labels)
    task = task_on(ROWS, steps, output_features=features, form=form)
    return task.get_dataset("train", folders=folders(path / form))


def one_rank():
    return Ranks(0, 1, torch.device("cpu"), threads=1)


def train(ranks, path, *, batch_size, num_steps, accumulate=1, seed=5, model=None, workers=0,
          start=None, unpads=False, compresses=False, **toy):  # fmt: skip
    """The state after `num_steps` updates, and the losses."""
    per_token = toy.get("per_token", False)
    examples = examples_in(path, per_token=per_token)
    module = model or toy_model(**toy)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    if start is not None:
        module.load_state_dict(start.module.state_dict())
        optimizer.load_state_dict(start.optimizer.state_dict())
    unused = ranks.size > 1 and has_unused_parameters(module, examples, ranks.device)
    state = TrainState(
        ranks.wrap(module, find_unused_parameters=unused, compresses=compresses), module, optimizer,
        lambda step: 1.0,
        step=start.step if start else 0, unpadding=Unpadding(module) if unpads else None,
    )  # fmt: skip
    plan = get_batches(
        examples.lengths("input_ids"), batch_size=batch_size,
        num_parts=ranks.size * accumulate, seed=seed,
    )  # fmt: skip
    settings = get_fit_settings(accumulate=accumulate)
    updates = fit(
        state, examples, plan, ranks=ranks, settings=settings, seed=seed, num_steps=num_steps,
        loss_reduction="label_tokens" if per_token else "rows", workers=workers,
    )  # fmt: skip
    losses = [float(ranks.mean(update.loss)) for update in updates]
    return state, losses


def flat(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
