"""Adjusts a tokenizer to its model: end token, padding, and maximum input length."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.families import OUR_PREFIX

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# The position of their first token is the pad id + 1.
_COUNTED_FROM_PAD = (
    "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "xmod", "roberta-prelayernorm",
    "longformer", "ibert", "data2vec-text", "luke", "mluke", "mpnet", "lilt",
)  # fmt: skip
# Their classifiers use the last position, even if it is padding.
_READ_LAST = ("xlnet",)
# A tokenizer without a limit reports a 30-digit number.
_NO_LIMIT = 10**9
# No input of our tasks is longer, so a limit above this is not reported.
_LONG = 4096


def fit_tokenizer(tokenizer: Any, raw_config: Mapping[str, Any], *, where: str) -> list[str]:
    """Adjusts the tokenizer to the model; returns a line for each change that a user should know
    about. A second call changes nothing.

    Args:
        raw_config: the model's `config.json`.
        where: the flag and the model, for errors.

    Raises:
        UserError: there is no token to pad with or to end texts with, the maximum length leaves no
            room for text, or transformers rejects the configuration.
    """
    config = read_config(raw_config, where)
    lines = [*_fit_padding(tokenizer, config, where), *_fit_length(tokenizer, config)]
    is_t5 = config.model_type.startswith(OUR_PREFIX) and not hasattr(config, "backbone")
    reads_end = getattr(_backbone(config), "is_encoder_decoder", False) or (
        is_t5 and hasattr(config, "feed_forward_proj")
    )
    if reads_end:
        lines += _fit_end(tokenizer, config, where)
    return lines


def register_type(model_type: str) -> None:
    """Registers our model types with transformers if this is one of them; that imports torch."""
    if model_type.startswith(OUR_PREFIX):
        import ke_t5.models  # noqa: F401 - registers them


def read_config(raw_config: Mapping[str, Any], where: str) -> PreTrainedConfig:
    """The configuration in a model's `config.json`; raises UserError if transformers rejects it."""
    import transformers

    register_type(raw_config["model_type"])
    # A user's own type is known only to the user's model class.
    is_known = raw_config["model_type"] in transformers.CONFIG_MAPPING
    make = transformers.AutoConfig.for_model if is_known else transformers.PreTrainedConfig
    try:
        return make(**copy.deepcopy(dict(raw_config)))  # some classes remove entries
    except Exception as error:  # each family checks its values in its own way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        named = re.search(r"Field '\w+' expected \w+, got \w+ \(value: .{0,20}", reason)
        raise UserError(
            f"its config.json cannot be read ({named[0] if named else reason:.70})",
            where,
            "check that value, and the version of transformers",
            Exit.CHECKPOINT,
        ) from error


def _backbone(config: PreTrainedConfig) -> PreTrainedConfig:
    return getattr(config, "backbone", None) or config


# --------------------------------------------------------------------------------------- padding


def _fit_padding(tokenizer: Any, config: PreTrainedConfig, where: str) -> list[str]:
    kind = _backbone(config).model_type
    # Padding on the right does not change the positions of the text.
    tokenizer.padding_side = "left" if kind in _READ_LAST else "right"
    if tokenizer.pad_token_id is not None:
        return []
    pad_id = getattr(config.get_text_config(), "pad_token_id", None)
    token = tokenizer.convert_ids_to_tokens(pad_id) if isinstance(pad_id, int) else None
    if token is None or token == tokenizer.unk_token:
        token = tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
    if token is None:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path!r} has neither a pad nor an end token",
            where,
            "name one as pad_token in tokenizer_config.json",
            Exit.CHECKPOINT,
        )
    tokenizer.pad_token = token
    return [f"the tokenizer has no pad token: {token} is used"]


# ---------------------------------------------------------------------------------------- length


def position_limit(config: PreTrainedConfig) -> int | None:
    """The number of tokens that a model has positions for; None without a limit, as with relative
    positions."""
    if getattr(config, "backbone", None) is not None:
        return position_limit(config.backbone)
    parts: list[Any] = [getattr(config, name, None) for name in ("encoder", "decoder")]
    limits = [position_limit(part) for part in parts if hasattr(part, "model_type")]
    if limits:
        return min((limit for limit in limits if limit is not None), default=None)
    config = config.get_text_config()
    names = ("max_encoder_position_embeddings", "max_position_embeddings")
    numbers = [getattr(config, name, None) for name in names]
    limit = next((number for number in numbers if isinstance(number, int) and number > 0), None)
    if limit is not None and config.model_type in _COUNTED_FROM_PAD:
        return limit - (config.pad_token_id or 0) - 1
    return limit


def _fit_length(tokenizer: Any, config: PreTrainedConfig) -> list[str]:
    limit, known = position_limit(config), tokenizer.model_max_length
    _require_room(tokenizer, known, "model_max_length", file="tokenizer_config.json")
    if limit is not None:
        _require_room(tokenizer, limit, "the number of positions", file="config.json")
    if limit is None or limit >= known:
        return []
    tokenizer.model_max_length = limit
    if limit > _LONG:
        return []
    kind, named = _backbone(config).model_type, "no limit" if known > _NO_LIMIT else f"{known:,}"
    return [f"inputs are limited to {limit:,} tokens, the positions of the {kind} model (the "
            f"tokenizer says {named})"]  # fmt: skip


def _require_room(tokenizer: Any, length: object, name: str, *, file: str) -> None:
    """Raises UserError for a maximum length that the special tokens of two texts use up."""
    marks = tokenizer.num_special_tokens_to_add(pair=True)
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    if is_number and length >= marks + 2:
        return
    raise UserError(
        f"{name} is {length!r:.30}",
        f"{tokenizer.name_or_path}/{file}",
        f"give {marks + 2} or more: two texts have {marks} special tokens",
        Exit.CHECKPOINT,
    )


# -------------------------------------------------------------------------------------- end token


def end_ids(tokenizer: Any, config: PreTrainedConfig) -> list[int]:
    """The ids that may end a text, the tokenizer's own first."""
    of_model = getattr(config, "eos_token_id", None)
    of_model = of_model if isinstance(of_model, list) else [of_model]
    found = [tokenizer.eos_token_id, *of_model, tokenizer.sep_token_id]
    return list(dict.fromkeys(i for i in found if i is not None))


def written_end(tokenizer: Any, ends: list[int]) -> int | None:
    """The end token that the tokenizer writes after a text, None if it writes none.

    A language code may follow it (mBART).
    """
    plain = tokenizer("가", add_special_tokens=False, verbose=False)["input_ids"]
    with_marks = tokenizer("가", verbose=False)["input_ids"]
    start = next(
        (i for i in range(len(with_marks)) if with_marks[i : i + len(plain)] == plain),
        len(with_marks),
    )
    after = with_marks[start + len(plain) :]
    return next((i for i in after if i in ends), None)


def _fit_end(tokenizer: Any, config: PreTrainedConfig, where: str) -> list[str]:
    ends = end_ids(tokenizer, config)
    if written_end(tokenizer, ends) is not None:
        return []
    if not ends:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path!r} has no end token, so a model would never "
            "stop generating",
            where,
            "name one as eos_token in tokenizer_config.json",
            Exit.CHECKPOINT,
        )
    token = tokenizer.convert_ids_to_tokens(ends[0])
    if tokenizer.eos_token is None:
        tokenizer.eos_token = token
    if tokenizer.is_fast:
        _append_fast(tokenizer, token, ends[0])
    else:
        patterns = {"bos": "bos_eos"}
        tokenizer.special_tokens_pattern = patterns.get(tokenizer.special_tokens_pattern, "eos")
    if written_end(tokenizer, ends) is None:
        raise UserError(
            f"{type(tokenizer).__name__} writes no end token and cannot be configured to",
            where,
            "save it as a tokenizer.json that ends texts with one",
            Exit.CHECKPOINT,
        )
    return [f"the tokenizer writes no end token: {token} is added to inputs and targets"]


def _append_fast(tokenizer: Any, token: str, token_id: int) -> None:
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    whole = state["post_processor"]
    parts = whole["processors"] if whole and whole["type"] == "Sequence" else [whole or {}]
    template = next((part for part in parts if part.get("type") == "TemplateProcessing"), None)
    if template is None:
        sequences = [{"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB")]
        template = {"type": "TemplateProcessing", "single": sequences[:1], "pair": sequences}
        template["special_tokens"] = {}
        parts = [*(part for part in parts if part), template]
    for form in ("single", "pair"):
        template[form] = [piece for old in template[form] for piece in _ended(old, token)]
    template["special_tokens"][token] = {"id": token, "ids": [token_id], "tokens": [token]}
    state["post_processor"] = {"type": "Sequence", "processors": parts}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))


def _ended(piece: Mapping[str, Any], token: str) -> list[Mapping[str, Any]]:
    """A piece of a template, followed by the end token if it is a text."""
    if "Sequence" not in piece:
        return [piece]
    segment = piece["Sequence"]["type_id"]
    return [piece, {"SpecialToken": {"id": token, "type_id": segment}}]
