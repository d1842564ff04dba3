"""A one-line report of the weights that a model loaded, ignored or newly initialized."""

from __future__ import annotations

import re
from collections.abc import Collection

from torch import nn
from transformers import PreTrainedModel

from ke_t5.errors import Exit, UserError
from ke_t5.forms import FORMS
from ke_t5.lookup.hub import Pretrained, has_own_head, saved_class
from ke_t5.lookup.tensor_names import lacks_head

# Parts of a head even inside a body: the pooler, which many published encoders lack, and the
# classifier of each reader of n-grams, but not that of a router (Switch Transformers).
PARTS_OF_HEADS = r"(?:pooler|(?<!router\.)classifier)"


def digest(
    model: PreTrainedModel,
    info: dict,
    pretrained: Pretrained,
    names: list[str],
    *,
    new_head: bool,
    where: str,
) -> str:
    """A line about the loaded weights.

    Raises:
        UserError: more than a head is missing, or the head's labels are not the task's.
    """
    missing = set(info["missing_keys"])
    other_shapes = {key: shapes for key, *shapes in info["mismatched_keys"]}
    if has_own_head(pretrained.config) and lacks_head(pretrained):
        missing.add("lm_head.weight")
    outside = sorted(key for key in missing | set(other_shapes) if not in_head(model, key))
    lacking = outside if new_head else sorted(missing | set(other_shapes))
    if lacking:
        shapes = other_shapes.get(lacking[0])
        detail = f" (file {list(shapes[0])}, model {list(shapes[1])})" if shapes else ""
        raise UserError(
            f"its weights do not fit {type(model).__name__}: {_listed(lacking, 2)}{detail} "
            f"{'have another shape' if shapes else 'missing'}",
            f"{where} {pretrained.name}",
            f"choose {'' if new_head else '--resume best (the weights of a run), or '}the model "
            f"class that they belong to{', or --from_scratch true' * new_head}",
            Exit.CHECKPOINT,
        )
    parts = [f"{pretrained.name}: weights loaded, {size_of(model)}"]
    new_keys = missing | set(other_shapes)
    if new_keys:
        parts.append(f"new head: {_listed(_tops(new_keys))}")
        parts += _risks(_tops(new_keys), type(model).__name__)
    else:
        parts += _other_labels(pretrained, names, new_head=new_head, where=where)
    if info["unexpected_keys"]:
        parts.append(f"left out: {_listed(_left_out(model, info['unexpected_keys']))}")
    return "; ".join(parts)


def _other_labels(
    pretrained: Pretrained, names: list[str], *, new_head: bool, where: str
) -> list[str]:
    """A line if the loaded head was trained for labels other than the task's `names`.

    Raises:
        UserError: the head will not be retrained, and its labels are the task's in another order,
            differ in number, or are those of one of our models.
    """
    given = pretrained.config.get("id2label") or {}
    own = [str(given[index]) for index in sorted(given, key=int)]
    is_unnamed = all(re.fullmatch(r"LABEL_\d+", name) for name in own)
    if not names or own == names or is_unnamed:
        return []
    difference = f"its head has the labels {_listed(own)}, the task {_listed(names)}"
    if new_head:
        return [difference]
    is_same = set(own) == set(names)
    if is_same or len(own) != len(names) or saved_class(pretrained) is not None:
        raise UserError(
            f"{difference}{': the same in another order' * is_same}",
            f"{where} {pretrained.name}",
            "every prediction would get a wrong name; give the classifier the task's order"
            if is_same
            else "test it on a task with its labels, or restore id2label in its config.json",
            Exit.CHECKPOINT,
        )
    return [difference]


def in_head(model: PreTrainedModel, key: str) -> bool:
    """Whether a parameter belongs to the head, that is, to no pretrained submodel."""
    if re.search(rf"(^|\.){PARTS_OF_HEADS}\.", key):
        return True
    top = key.split(".")[0]
    part = getattr(model, top, None)
    embedding = model.get_input_embeddings()
    body = isinstance(part, PreTrainedModel) or part is embedding or top == "lm_head"
    holds_embedding = isinstance(part, nn.Module) and any(
        module is embedding for module in part.modules()
    )
    return not (body or holds_embedding)


def _tops(keys: Collection[str]) -> list[str]:
    """The top-level modules of the keys; for a pooler or classifier in the body its full name,
    because the rest of the body may be loaded."""
    inner = (re.match(rf"(.+\.)?{PARTS_OF_HEADS}(?=\.)", key) for key in keys)
    pairs = zip(inner, keys, strict=True)
    return sorted({part[0] if part else key.split(".")[0] for part, key in pairs})


def _left_out(model: PreTrainedModel, keys: Collection[str]) -> list[str]:
    """The top-level modules of the keys; for the body, the affected submodules."""
    backbone = getattr(model, "backbone", None)
    bodies = {model.base_model_prefix, getattr(backbone, "base_model_prefix", ""), "backbone"}
    parts = (key.split(".") for key in keys)
    return sorted({".".join(part[: 2 if part[0] in bodies else 1]) for part in parts})


def _risks(new: Collection[str], model_class: str) -> list[str]:
    """A line about each newly initialized pooler of the body, with our class that has none."""
    pooled = [form for form in FORMS.values() if form.reads_pooler]
    ends = [form.auto_class.removeprefix("AutoModel") for form in pooled]
    fit = [form for form, end in zip(pooled, ends, strict=True) if model_class.endswith(end)]
    other = (fit or pooled)[0].any_encoder_model
    poolers = [name for name in new if name.endswith(".pooler")]
    return [
        f"risk: {name} is untrained and may learn nothing for hundreds of steps "
        f"({other} needs no pooler)"
        for name in poolers
    ]


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def size_of(model: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters"
