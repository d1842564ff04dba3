"""`ke-t5 models`: lists the model classes by form, or describes a model and the forms it fits."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.commands.arguments import Parser, add_module_import, typed
from ke_t5.config.flags import path
from ke_t5.errors import UserError
from ke_t5.forms import FORMS, MODEL_FORMS
from ke_t5.terminal import table

if TYPE_CHECKING:
    from ke_t5.lookup.hub import Pretrained


def parser() -> ArgumentParser:
    """The parser of the command line."""
    description = (
        "Lists the model classes by form of task; given a model's name or folder, describes the\n"
        "model and shows which class would be used for each form."
    )
    words = Parser("models", description)
    words.add_argument(
        "name", nargs="?", metavar="NAME|DIR", type=typed(path), help="hub name or folder"
    )
    words.add_argument("--form", choices=sorted(FORMS), help="only this form")
    add_module_import(words, "models")
    return words


def main(flags: Namespace) -> None:
    """Prints the classes, or the model."""
    from ke_t5.config.gin_config import import_modules

    import_modules(flags.module_import)
    forms = [flags.form] if flags.form else list(FORMS)
    if flags.name is None:
        sys.stdout.write(table(("form", "model class"), class_rows(forms)))
        return
    from ke_t5.lookup.hub import find_pretrained

    found = find_pretrained(flags.name, where="ke-t5 models")
    sys.stdout.write(table(("model", found.name), facts_of(found)) + "\n")
    sys.stdout.write(table(("form", "class", "why"), [form_row(form, found) for form in forms]))


def class_rows(forms: list[str]) -> Iterator[tuple[str, str]]:
    """Yields (form, class) of our classes and the user's, the default of each form first."""
    from ke_t5.lookup.loader import load_model, model_forms, registered_models

    served = dict(MODEL_FORMS)
    for alias in registered_models():
        if alias not in served:
            served[alias] = model_forms(load_model(alias)) or ()
    for form in forms:
        default = FORMS[form].default_model
        yield form, f"{default} (default)"
        yield from ((form, name) for name, of in served.items() if form in of and name != default)
        table_name = FORMS[form].transformers_table
        if table_name is not None and not FORMS[form].generates:
            yield form, f"transformers:...{FORMS[form].auto_class.removeprefix('AutoModel')}"


def facts_of(found: Pretrained) -> Iterator[tuple[str, str]]:
    """Yields (name, value) of the facts in a model's configuration and weights."""
    from ke_t5.lookup.hub import SAFE_WEIGHTS
    from ke_t5.lookup.tensor_names import safetensors_header

    config = found.config
    yield "type", config["model_type"]
    yield "saved by", ", ".join(config.get("architectures") or ["?"])
    names = {
        "layers": ("num_hidden_layers", "num_layers"),
        "width": ("hidden_size", "d_model"),
        "vocabulary": ("vocab_size",),
        "longest text": ("max_position_embeddings",),
    }
    for what, keys in names.items():
        if (value := next((config[key] for key in keys if key in config), None)) is not None:
            yield what, str(value)
    labels = config.get("id2label") or {}
    if labels and set(labels.values()) != {"LABEL_0", "LABEL_1"}:
        yield "labels", ", ".join(map(str, labels.values()))
    weights = found.folder and found.folder / SAFE_WEIGHTS[0]
    if isinstance(weights, Path) and weights.is_file():
        shapes = [entry["shape"] for entry in safetensors_header(weights).values()]
        size = weights.stat().st_size / 1e6
        yield "size", f"{sum(map(prod, shapes)) / 1e6:.1f} M parameters, {size:.0f} MB"


def form_row(form: str, found: Pretrained) -> tuple[str, str, str]:
    """The form, the class for it with this model, and why; or why there is none."""
    from ke_t5.lookup.choice import choose_model

    try:
        chosen = choose_model(form, found)
    except UserError as error:
        return form, "-", error.what
    return form, chosen.model_name, chosen.reason
