"""The tokenizer of a run: the model's own, or the one that gin binds."""

from __future__ import annotations

import logging
from pathlib import Path

from ke_t5.config.gin_config import Configuration
from ke_t5.errors import UserError
from ke_t5.lookup.hub import Pretrained
from ke_t5.lookup.tokenizer_fit import register_type
from ke_t5.programs import gin_param
from ke_t5.task.utils import TOKENIZER_FILES, get_vocabulary

logger = logging.getLogger(__name__)

VOCABULARY = "ke_t5.task.utils.get_vocabulary.vocab_name"


def settle_vocabulary(configuration: Configuration, found: Pretrained) -> Configuration:
    """The configuration with the model's own tokenizer, unless gin binds one that can be loaded.

    If gin binds a hub name that cannot be reached, the model's folder replaces it if it is the same
    model.

    Raises:
        UserError: the tokenizer that gin binds cannot be loaded; names the gin file and line.
    """
    register_type(found.config["model_type"])
    binding = configuration.binding(VOCABULARY)
    if binding is None:
        return configuration.with_binding(VOCABULARY, found.name, "--pre_trained_model")
    try:
        get_vocabulary()
        return configuration
    except UserError as error:
        has_own = found.folder is not None and _holds_tokenizer(found.folder)
        if has_own and _is_same_model(str(binding.value), found):
            logger.warning(
                "%s: %s = %r: %s", binding.place, binding.name, binding.value, error.what
            )
            place = "the tokenizer of --pre_trained_model"
            return bind_and_report(configuration, VOCABULARY, found.name, place)
        own = found.name if has_own else "FOLDER"
        raise UserError(
            f"{binding.name} = {binding.value!r}: {error.what}",
            binding.place,
            f"name another: {gin_param('get_vocabulary.vocab_name', own)}",
            error.exit_code,
        ) from error


def _holds_tokenizer(folder: Path) -> bool:
    return any((folder / name).exists() for name in TOKENIZER_FILES)


def _is_same_model(name: str, found: Pretrained) -> bool:
    """Whether a folder contains the model of a hub name: by the folder's name, as a clone, a
    download or the hub's cache has it, or by its configuration."""
    if found.folder is None:
        return False
    folder = found.folder.resolve()
    cached = f"models--{name.replace('/', '--')}"
    plain = {folder.name, f"{folder.parent.name}/{folder.name}", *folder.parts[-3:]}
    flat = name.replace("/", "_"), name.replace("/", "-"), name.replace("/", "--")
    names = {name, name.rpartition("/")[2], cached, *flat}
    return bool(plain & names) or found.config.get("_name_or_path") == name


def bind_and_report(
    configuration: Configuration, name: str, value: object, place: str
) -> Configuration:
    """The configuration with a binding of the run itself; warns if a gin file binds otherwise."""
    note = configuration.conflict(name, value, place)
    if note is not None:
        logger.warning(note)
    return configuration.with_binding(name, value, place)
