"""Model classes by name, for users' own modules (see `ke_t5.lookup.loader`)."""

from ke_t5.lookup.loader import (
    check_form,
    check_model_name,
    choose_form,
    default_model_name,
    import_module,
    load_model,
    model_forms,
    register_model,
    registered_models,
)

__all__ = [
    "check_form",
    "check_model_name",
    "choose_form",
    "default_model_name",
    "import_module",
    "load_model",
    "model_forms",
    "register_model",
    "registered_models",
]
