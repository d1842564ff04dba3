"""The vocabulary of the run, shared by all tasks."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ke_t5.config.configurable import configurable
from ke_t5.errors import Exit, UserError
from ke_t5.hub import network_fault, why_unreachable
from ke_t5.seals import check_folder
from ke_t5.task.tokenizer_files import check_tokenizer_files, load_tokenizer, named_class

DEFAULT_VOCABULARY = "KETI-AIR/ke-t5-base"
TOKENIZER_FILES = (
    "tokenizer.json", "spiece.model", "vocab.txt", "vocab.json", "sentencepiece.bpe.model",
    "spm.model", "tokenizer.model",
)  # fmt: skip
# Rare characters, on which a tokenizer without an unknown token fails.
UNKNOWN = "가\u1c60\U0001f9ff"
# Tokenizers whose ids are bytes or characters.
WITHOUT_FILES = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")


@configurable(module="ke_t5.task.utils")
def get_vocabulary(vocab_name: str = DEFAULT_VOCABULARY) -> Any:
    """The tokenizer of a hub name or folder, loaded once per process.

    The recipes bind `vocab_name` to `--pre_trained_model` if gin does not.
    """
    return _load(vocab_name)


@functools.cache
def _load(name: str) -> Any:
    """The tokenizer; a UserError if it cannot be loaded."""
    where = f"tokenizer {name!r}"
    folder = Path(name)
    if folder.is_dir():
        check_folder(folder, where="tokenizer", weights=False)
        has_files = any((folder / file).exists() for file in TOKENIZER_FILES)
        if not has_files and named_class(folder) not in WITHOUT_FILES:
            raise UserError(
                f"the folder contains no tokenizer (none of {', '.join(TOKENIZER_FILES[:3])}, ...)",
                where,
                "name a folder written by a tokenizer's save_pretrained",
                Exit.CHECKPOINT,
            )
        check_tokenizer_files(folder)
    elif not _is_cached(name):
        why = why_unreachable()
        if why is not None:
            raise UserError(
                f"no such folder, and the hub cannot be reached: {why}",
                where,
                "name a local folder, or try --sample, which needs none",
                Exit.FLAGS,
            )
    try:
        tokenizer = load_tokenizer(name)
        tokenizer(UNKNOWN, verbose=False)
        return tokenizer
    except UserError:
        raise
    except Exception as error:  # tokenizers and configurations of the hub fail in every way
        if (cut_off := network_fault(error, where)) is not None:
            raise cut_off from error
        check_tokenizer_files(folder, is_broken=True)
        first_line = (str(error).strip().splitlines() or [""])[0]
        is_told = isinstance(error, OSError | ValueError)
        reason = first_line if is_told else f"{type(error).__name__}: {first_line}"
        fix = "check the name or the folder's files"
        if "precompiled_charsmap" in first_line:
            fix = "its SentencePiece model does not normalize: use transformers 5.20 or newer"
        what = f"cannot be loaded ({reason:.90})"
        raise UserError(what, where, fix, Exit.CHECKPOINT) from error


def _is_cached(name: str) -> bool:
    """Whether the tokenizer of this hub name is in the cache of huggingface_hub."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return any(
            isinstance(try_to_load_from_cache(name, f), str)
            for f in (*TOKENIZER_FILES, "tokenizer_config.json")
        )
    except HFValidationError:
        return False
