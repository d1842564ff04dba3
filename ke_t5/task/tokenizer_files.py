"""Loading tokenizers with the rules of their `tokenizer.json`, which the model was trained with.

transformers 5 rebuilds many tokenizers from their vocabulary and the rules of the class named in
`tokenizer_config.json`. If these rules differ from `tokenizer.json` (pko-t5: byte-level BPE under
the name T5TokenizerFast), this fails or produces different tokens.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError

logger = logging.getLogger(__name__)

_SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model")
_MOST_EXTRA_IDS = 10_000  # T5 has 100; each of them becomes a token

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
            "mask_token")  # fmt: skip
# Spaces, marks, capitals, digits, and syllables without a final consonant and with one.
_PROBE = "대한민국의 수도는 서울이다. KT&G, 2024년 3분기 실적 (종합)"


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a folder or hub name, with the same tokens as its `tokenizer.json`.

    Raises the error of `AutoTokenizer` if there is no `tokenizer.json` to fall back on.
    """
    from transformers import AutoTokenizer

    path = _json_file(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        if path is None:
            named = _of_named_class(name)
            if named is None:
                raise
            return named
        logger.info(
            "tokenizer %s: its class does not fit tokenizer.json, which is used instead (%s)",
            name,
            str(error).strip().split("\n")[0],
        )
        return _as_written(name, path, None)
    if path is not None and not _gives_its_tokens(tokenizer, path):
        logger.info(
            "tokenizer %s: %s produces other tokens than tokenizer.json, which is used instead",
            name,
            type(tokenizer).__name__,
        )
        return _as_written(name, path, tokenizer)
    return tokenizer


def check_tokenizer_files(folder: Path, *, is_broken: bool = False) -> None:
    """Raises UserError for the first invalid file of a folder's tokenizer.

    Args:
        is_broken: the tokenizer could not be loaded: read and check every file.
    """
    for file in _files_in(folder):
        reason = _fault_of(file, is_broken=is_broken)
        if reason is not None:
            fix = "download or save the tokenizer again"
            raise UserError(reason, str(file), fix, Exit.CHECKPOINT)


def _files_in(folder: Path) -> Iterator[Path]:
    names = ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json")
    yield from (folder / name for name in names if (folder / name).is_file())
    path = folder / "tokenizer.json"
    if not (path.is_file() and path.stat().st_size):  # otherwise these are not used
        names = ("vocab.txt", *_SENTENCEPIECE)
        yield from (folder / name for name in names if (folder / name).is_file())


def _fault_of(file: Path, *, is_broken: bool) -> str | None:
    """The fault of a file of a tokenizer; None if none is found."""
    if file.suffix != ".json" and not file.stat().st_size:
        return "is empty"
    if file.name == "tokenizer_config.json":
        number = _read_json(file).get("extra_ids")
        if isinstance(number, int) and not 0 <= number <= _MOST_EXTRA_IDS:
            return f"extra_ids is {number} (0 to {_MOST_EXTRA_IDS:,})"
    if not is_broken:
        return None
    if file.name in _SENTENCEPIECE:
        return None if _is_sentencepiece(file) else "not a SentencePiece model"
    try:
        text = file.read_text(encoding="utf-8")
        is_object = file.suffix != ".json" or isinstance(json.loads(text), dict)
    except (ValueError, RecursionError) as error:
        kind = "a tokenizer's JSON" if file.suffix == ".json" else "UTF-8"
        return f"not {kind} ({error!s:.80})"
    return None if is_object else "not a tokenizer's JSON (the top level is not an object)"


def _is_sentencepiece(file: Path) -> bool:
    from sentencepiece import SentencePieceProcessor

    try:
        processor: Any = SentencePieceProcessor(model_file=str(file))
        return bool([processor.id_to_piece(i) for i in range(processor.get_piece_size())])
    except (RuntimeError, OSError, ValueError):  # no such format; pieces that are not UTF-8
        return False


def _read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file; {} if there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def named_class(folder: Path) -> str | None:
    """The class named in a folder's `tokenizer_config.json`; None if there is none."""
    return _read_json(folder / "tokenizer_config.json").get("tokenizer_class")


def _of_named_class(name: str) -> Any:
    """The tokenizer loaded with the class named in its folder, if AutoTokenizer uses a different
    one (umT5 with only a SentencePiece model); None if that fails too."""
    tokenizer_class = _class_of_transformers(named_class(Path(name)))
    try:
        if tokenizer_class is None:
            return None
        return tokenizer_class.from_pretrained(name, trust_remote_code=False)
    except Exception:  # AutoTokenizer's own error is the one to show
        return None


def _class_of_transformers(name: object) -> Any:
    """The tokenizer class of transformers with that name; None if there is none."""
    import transformers

    tokenizer_class = getattr(transformers, name, None) if isinstance(name, str) else None
    base = transformers.PreTrainedTokenizerBase
    return (
        tokenizer_class
        if isinstance(tokenizer_class, type) and issubclass(tokenizer_class, base)
        else None
    )


def _json_file(name: str) -> Path | None:
    folder = Path(name)
    if folder.is_dir():
        path = folder / "tokenizer.json"
        return path if path.is_file() and path.stat().st_size else None
    from transformers.utils.hub import cached_file

    options = ("connection_errors", "missing_entries", "gated_repo")
    quietly = {f"_raise_exceptions_for_{kind}": False for kind in options}
    file = cached_file(name, "tokenizer.json", **quietly)
    return Path(file) if file else None


def _gives_its_tokens(tokenizer: Any, path: Path) -> bool:
    """Whether a loaded tokenizer produces the tokens of the file, or fewer unknown ones."""
    from tokenizers import Tokenizer

    try:
        file_ids = Tokenizer.from_file(str(path)).encode(_PROBE, add_special_tokens=False).ids
    except Exception:  # the library raises no narrower class; a file of another format
        return True
    ids = tokenizer(_PROBE, add_special_tokens=False, verbose=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    return ids == file_ids or file_ids.count(unknown) > ids.count(unknown)


def _as_written(name: str, path: Path, like: Any) -> Any:
    """The tokenizer of the file, with the special tokens of `like` or of the configured class."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(name, trust_remote_code=False)
    vocabulary = tokenizer.get_vocab()
    defaults = {key: getattr(like, key) for key in _SPECIAL} if like else _defaults(path)
    for key, token in defaults.items():
        if getattr(tokenizer, key) is None and token in vocabulary:
            setattr(tokenizer, key, token)
    return tokenizer


def _defaults(path: Path) -> dict[str, str]:
    """The default special tokens of the class named in `tokenizer_config.json`."""
    tokenizer_class = _class_of_transformers(named_class(path.parent))
    if tokenizer_class is None:
        return {}
    parameters = inspect.signature(tokenizer_class.__init__).parameters
    return {key: parameters[key].default for key in _SPECIAL if key in parameters}
