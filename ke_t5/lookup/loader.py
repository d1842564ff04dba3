"""Model classes by name; torch is imported only when a class is loaded.

transformers:RobertaForSequenceClassification                       module:Class
ke_t5.models.models:t5_encoder_for_sequence_classification_mean     module:snake_case_class
T5EncoderForSequenceClassificationMean                              a registered alias
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from ke_t5.errors import UserError, nearest, suggestion
from ke_t5.forms import FORMS, MODEL_FORMS
from ke_t5.lookup.source import find_spec, names_in_source
from ke_t5.registry import Registry
from ke_t5.user_modules import failed_import, import_user_module

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ModelClass = TypeVar("ModelClass", bound=type)

_MODELS: Registry[type | str] = Registry("model")
for _name in MODEL_FORMS:
    _MODELS.add(_name, f"ke_t5.models.models:{_name}")
del _name


def register_model(alias: str) -> Callable[[ModelClass], ModelClass]:
    """A class decorator that makes the class available as `--model_name ALIAS`.

    Raises:
        UserError: the alias is taken or contains a colon, or the class is not a PreTrainedModel.
    """

    def register(model_class: ModelClass) -> ModelClass:
        where = f"@register_model({alias!r}) on {_title(model_class)}"
        if ":" in alias:
            raise UserError("an alias cannot contain a colon", where, "choose another name")
        _require_pretrained_model(model_class, where)
        if alias in _MODELS:
            taken = _MODELS.get(alias)
            raise UserError(
                f"the alias is taken by {taken if isinstance(taken, str) else _title(taken)}",
                where,
                "choose another name",
            )
        _MODELS.add(alias, model_class)
        return model_class

    return register


def registered_models() -> list[str]:
    """All aliases, sorted."""
    return _MODELS.names()


def load_model(name: str) -> type[PreTrainedModel]:
    """The class of that name (see the module's docstring for the spellings).

    Raises:
        UserError: unknown module, class or alias; an import that fails; not a PreTrainedModel.
    """
    where = f"--model_name {name!r}"
    target = name if ":" in name else _alias_target(name, where)
    if isinstance(target, type):
        return target
    module_name, _, attribute = target.partition(":")
    module = import_module(module_name, where=where)
    class_name = _match(attribute, _names_in(module), where, module_name)
    try:
        model_class = getattr(module, class_name)
    except (ImportError, RuntimeError) as error:
        # transformers imports a model's own module only now.
        raise failed_import(f"{module_name}.{class_name}", where, error) from error
    _require_pretrained_model(model_class, where)
    return model_class


def check_model_name(name: str) -> str:
    """The name of the class that `load_model` would load; imports neither it nor torch.

    Raises:
        UserError: the module, the class or the alias does not exist; with near names.
    """
    where = f"--model_name {name!r}"
    target = name if ":" in name else _alias_target(name, where)
    if isinstance(target, type):
        return target.__name__
    module_name, _, attribute = target.partition(":")
    if module_name == "transformers":
        module = import_module("transformers", where=where)  # which does not import torch
        return _match(attribute, _names_in(module), where, module_name)
    see_current_folder()
    spec = find_spec(module_name)
    if spec is None:
        raise _unknown_module(module_name, where)
    names = names_in_source(spec)
    return attribute if names is None else _match(attribute, names, where, module_name)


def default_model_name(form: str) -> str:
    """The model for a task of that form if `--model_name` is not given."""
    return FORMS[form].default_model


def model_forms(model_class: type) -> tuple[str, ...] | None:
    """The task forms that a model class supports; None if they cannot be determined.

    Our classes and users' classes may declare them in `task_forms`; otherwise transformers'
    tables are searched for the class, or for its nearest base class.
    """
    declared = getattr(model_class, "task_forms", None)
    if declared is not None:
        return (declared,) if isinstance(declared, str) else tuple(declared)
    tables = importlib.import_module("transformers.models.auto.modeling_auto")
    for base in model_class.__mro__:
        forms = tuple(
            form.name
            for form in FORMS.values()
            if form.transformers_table is not None
            and base.__name__ in _flat(getattr(tables, form.transformers_table).values())
        )
        if forms:
            return forms
    return () if model_class.__module__.startswith("transformers.") else None


def check_form(model_class: type, *forms: str) -> str:
    """The first of a task's `forms` that the model class supports.

    Raises:
        UserError: it supports none of them. A user's class with unknown forms is accepted.
    """
    supported = model_forms(model_class)
    if supported is None:
        return forms[0]
    for form in forms:
        if form in supported:
            return form
    kind = "a model without a head for any task"
    if supported:
        kind = f"a model for {' and '.join(supported)}"
    raise UserError(
        f"{kind}, but the task needs one for {' or '.join(forms)}".replace("_", " "),
        f"--model_name {model_class.__name__}",
        f"choose {default_model_name(forms[0])!r}"
        if model_class.__module__.startswith(("transformers.", "ke_t5."))
        else f"declare task_forms = ({forms[0]!r},) in the class, if it supports that form",
    )


def choose_form(name: str, *forms: str) -> str:
    """The one of a task's `forms` that the named model is used for.

    Torch is imported only if there is a choice and the class is neither ours nor transformers'.

    Raises:
        UserError: an unknown name, or a user's class that supports none of them.
    """
    class_name = check_model_name(name)
    if len(forms) == 1 or name.startswith("transformers:"):
        return forms[0]
    target = name if ":" in name else _alias_target(name, f"--model_name {name!r}")
    if isinstance(target, str) and target.startswith("ke_t5.models.models:"):
        # A class of another form is rejected when it is loaded.
        own = MODEL_FORMS.get(class_name, ())
        return next((form for form in forms if form in own), forms[0])
    return check_form(load_model(name), *forms)


def import_module(name: str, *, where: str) -> ModuleType:
    """Imports a module from the current folder or the installed packages.

    Raises:
        UserError: there is no such module, or its own code fails (chained for the log).
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise _unknown_module(name, where)
    see_current_folder()
    return import_user_module(name, where, missing=lambda _: _unknown_module(name, where))


def _alias_target(name: str, where: str) -> type | str:
    if name not in _MODELS:
        raise _unknown_model(name, where)
    return _MODELS.get(name)


def _unknown_model(name: str, where: str) -> UserError:
    if "/" in name or os.path.isfile(os.path.join(name, "config.json")):
        what = "names a class, not a checkpoint"
        fix = "give that with --pre_trained_model (to predict, serve or export: --hf_path)"
        return UserError(what, where, fix)
    transformers = import_module("transformers", where=where)
    models = {_fold(known): f"transformers:{known}" for known in _names_in(transformers)}
    models |= {_fold(known): known for known in _MODELS.names()}
    close = difflib.get_close_matches(_fold(name), models, n=1, cutoff=0.9)
    similar = [models[folded] for folded in close] or nearest(name, _MODELS.names(), 1)
    if similar:
        return UserError("unknown model", where, f"did you mean {similar[0]!r}?")
    fix = (
        "omit it for the default, or give module:Class or an alias (`python -m ke_t5 models` lists "
        "them; --module_import runs your @register_model)"
    )
    return UserError("unknown model", where, fix)


def _names_in(module: ModuleType) -> set[str]:
    lazy = _lazy_names(module) if module.__name__ == "transformers" else dir(module)
    return {name for name in (*vars(module), *lazy) if isinstance(name, str)}


@functools.cache
def _lazy_names(module: ModuleType) -> frozenset[str]:
    """A module's names, with those that it imports lazily; listing them takes 0.2 s."""
    return frozenset(dir(module))


def _match(attribute: str, known: Iterable[str], where: str, module_name: str) -> str:
    """The known name equal to `attribute`, or the only one that differs in underscores and case."""
    known = set(known)
    if attribute in known:
        return attribute
    alike = sorted(name for name in known if attribute and _fold(name) == _fold(attribute))
    if len(alike) == 1:
        return alike[0]
    if alike:
        names = ", ".join(map(repr, alike))
        what = f"the name matches {names} in module {module_name!r}"
        raise UserError(what, where, "give the exact name")
    classes = [name for name in known if name[:1].isupper()]
    raise UserError(
        f"module {module_name!r} has no class {attribute!r}", where, suggestion(attribute, classes)
    )


def _fold(name: str) -> str:
    return name.replace("_", "").casefold()


def _flat(values: Iterable[str | tuple[str, ...]]) -> Iterator[str]:
    for value in values:
        yield from (value,) if isinstance(value, str) else value


def _title(model_class: type) -> str:
    return f"{model_class.__module__}:{model_class.__qualname__}"


def _require_pretrained_model(model_class: object, where: str) -> None:
    # By name, so that registering a class does not import transformers.
    bases = model_class.__mro__ if isinstance(model_class, type) else ()
    if any(
        base.__name__ == "PreTrainedModel" and base.__module__.startswith("transformers.")
        for base in bases
    ):
        return
    got = _title(model_class) if isinstance(model_class, type) else repr(model_class)
    raise UserError(
        f"{got} is not a PreTrainedModel",
        where,
        "derive the class from transformers.PreTrainedModel",
    )


def see_current_folder() -> None:
    """Makes modules in the current folder importable, as those on PYTHONPATH are."""
    # `python train_ddp.py` adds the script's folder to the path, not the current one.
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def _unknown_module(name: str, where: str) -> UserError:
    return UserError(
        f"there is no module {name!r} here or among the installed packages",
        where,
        "write module:Class, for instance 'transformers:RobertaForSequenceClassification'",
    )
