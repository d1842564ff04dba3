"""Arguments of a model's methods: which exist, and which can be combined.

Combinations that transformers only warns about, once per batch, are errors or reported once.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ke_t5.config.annotations import fits, shown
from ke_t5.config.ranges import Count, CountOrZero, Finite, Fraction, Positive, problem_of
from ke_t5.errors import UserError, suggestion

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedConfig

    class GenerativeModel(torch.nn.Module):
        """A model with `generate`: for type checkers, transformers has no such class."""

        config: PreTrainedConfig
        generation_config: GenerationConfig

        @classmethod
        def can_generate(cls) -> bool: ...
        def generate(self, **arguments: Any) -> Any: ...

    # A model, or its class before the model is built.
    Model = torch.nn.Module | type[torch.nn.Module]
    Generative = GenerativeModel | type[GenerativeModel]


KWARGS = "EvaluationHelper.model_kwargs"

# What transformers 5 supports only with code from the hub.
HUB_ONLY = (
    "num_beam_groups", "diversity_penalty", "penalty_alpha", "dola_layers", "constraints",
    "force_words_ids", "custom_generate", "trust_remote_code",
)  # fmt: skip
SAMPLING_ONLY = (
    "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip
# Name -> values that have no effect.
BEAMS_ONLY = {"length_penalty": (None, 1.0), "early_stopping": (None, False)}
# Valid values; transformers rejects others only during generation, or generates nothing.
RANGES = {
    "num_beams": Count, "num_return_sequences": Count, "max_new_tokens": Count,
    "max_length": Count, "min_new_tokens": CountOrZero, "min_length": CountOrZero,
    "no_repeat_ngram_size": CountOrZero, "encoder_no_repeat_ngram_size": CountOrZero,
    "top_k": CountOrZero, "top_p": Fraction, "min_p": Fraction, "typical_p": Fraction,
    "epsilon_cutoff": Fraction, "eta_cutoff": Fraction, "temperature": Positive,
    "repetition_penalty": Positive, "encoder_repetition_penalty": Positive,
    "length_penalty": Finite, "pad_token_id": CountOrZero, "bos_token_id": CountOrZero,
}  # fmt: skip
LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens")


def class_of(model: Model) -> type:
    """The class of a model, or the class itself."""
    return model if isinstance(model, type) else type(model)


def argument_names(function: Callable) -> set[str] | None:
    """The keywords that a function accepts; None if it accepts any.

    `**kwargs: Unpack[TransformersKwargs]` stands for the keys of that type.
    """
    names: set[str] = set()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            keywords: Any = next(iter(typing.get_args(parameter.annotation)), None)
            if not hasattr(keywords, "__optional_keys__"):
                return None
            names |= keywords.__optional_keys__ | keywords.__required_keys__
        elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            names.add(parameter.name)
    return names - {"self"}


def known_names(model: Model, method: Callable) -> set[str] | None:
    """The keywords that a model's method accepts; None if it accepts any or the class cannot tell.

    A head passes keywords that it does not know on to its encoder.
    """
    names = argument_names(method)
    if names is not None or isinstance(model, type):
        return names
    encoders = [child for child in model.children() if hasattr(child, "config")]
    accepted = set(inspect.signature(method).parameters) - {"self", "kwargs"}
    for encoder in encoders:
        names = argument_names(encoder.forward)
        if names is None:
            return None
        accepted |= names
    return accepted if encoders else None


def required_names(function: Callable) -> set[str]:
    """The names of a function's parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.default is parameter.empty}


def generation_names(model: Generative) -> set[str]:
    """The keywords of `model.generate`: its own and those of GenerationConfig and `forward`."""
    from transformers import GenerationConfig

    names = set(inspect.signature(model.generate).parameters) - {"self", "kwargs", "inputs"}
    fields = set(vars(GenerationConfig())) - {"transformers_version"}
    names |= {name for name in fields if not name.startswith("_")}
    return names | set(inspect.signature(model.forward).parameters) - {"self", "kwargs"}


def check_arguments(model: Generative, arguments: Mapping[str, Any]) -> None:
    """Raises UserError for arguments that `model.generate` lacks or that cannot be combined."""
    for name in HUB_ONLY:
        value = arguments.get(name)
        if value and not (name == "num_beam_groups" and value == 1):
            raise UserError(
                f"transformers 5 supports {name!r} only with code from the hub",
                KWARGS,
                "use num_beams, do_sample, top_k, top_p or temperature",
            )
    known = generation_names(model)
    unknown = sorted(set(arguments) - known - set(HUB_ONLY))
    if unknown:
        raise UserError(
            f"{class_of(model).__name__}.generate has no argument {unknown[0]!r}",
            KWARGS,
            suggestion(unknown[0], known - set(HUB_ONLY)),
        )
    _check_num_sequences(model, arguments)
    _check_lengths(arguments)


def check_generation_values(arguments: Mapping[str, Any]) -> None:
    """Raises ValueError("what; fix") for a value that no model can generate with."""
    for name, value in arguments.items():
        hint: Any = RANGES.get(name, object)
        hint = hint | None
        if not fits(value, hint):
            raise ValueError(f"has {value!r} for {name!r}; give {shown(hint)}")
        problem = problem_of(value, hint)
        if problem is not None:
            raise ValueError(f"has a bad {name!r}: it {problem[0]}; {problem[1]}")


def _check_num_sequences(model: Generative, arguments: Mapping[str, Any]) -> None:
    num_beams = effective_value(model, arguments, "num_beams", 1)
    num_sequences = effective_value(model, arguments, "num_return_sequences", 1)
    if num_beams < 1:
        raise UserError(f"num_beams is {num_beams}", KWARGS, "give 1 (no beam search) or more")
    is_sampled = effective_value(model, arguments, "do_sample", False)
    if num_sequences > num_beams and (num_beams > 1 or not is_sampled):
        alternative = "" if num_beams > 1 else ", or do_sample=True"
        raise UserError(
            f"num_return_sequences {num_sequences} exceeds num_beams {num_beams}",
            KWARGS,
            f"give num_beams={num_sequences}{alternative}",
        )


def _check_lengths(arguments: Mapping[str, Any]) -> None:
    # `*_length` counts the decoder's start token too.
    longest = arguments.get("max_new_tokens") or (arguments.get("max_length") or math.inf) - 1
    shortest = arguments.get("min_new_tokens") or (arguments.get("min_length") or 1) - 1
    if shortest > longest:
        lengths = ", ".join(f"{name}={arguments[name]}" for name in LENGTHS if name in arguments)
        raise UserError(
            f"min length exceeds max length ({lengths})", KWARGS, "lower the min or raise the max"
        )


def effective_value(
    model: Generative, arguments: Mapping[str, Any], name: str, default: Any
) -> Any:
    """The given value of an argument, or that of the model's generation_config, or the default."""
    for value in (
        arguments.get(name),
        getattr(getattr(model, "generation_config", None), name, None),
    ):
        if value is not None:
            return value
    return default


def idle_arguments(model: GenerativeModel, arguments: Mapping[str, Any]) -> list[str]:
    """A line for each group of arguments that the other arguments make ineffective."""
    lines = []
    if not effective_value(model, arguments, "do_sample", False):
        idle = [name for name in SAMPLING_ONLY if arguments.get(name) is not None]
        if idle:
            lines.append(f"{', '.join(idle)}: no effect without do_sample=True")
    if effective_value(model, arguments, "num_beams", 1) == 1:
        idle = [name for name, neutral in BEAMS_ONLY.items() if arguments.get(name) not in neutral]
        if idle:
            lines.append(f"{', '.join(idle)}: no effect without num_beams > 1")
    for total, new in (LENGTHS[:2], LENGTHS[2:]):
        if arguments.get(total) is not None and arguments.get(new) is not None:
            lines.append(f"{total}: no effect with {new}")
    return lines


def check_training_columns(model: Model, columns: Iterable[str]) -> None:
    """Raises UserError if the model's forward does not accept these columns of a batch."""
    known = argument_names(model.forward)
    missing = [name for name in columns if known is not None and name not in known]
    if missing:
        what = f"{class_of(model).__name__}.forward has no argument {missing[0]!r}"
        fix = "add it: training passes the model the column of that name"
        raise UserError(what, "--model_name", fix)


def with_limit(arguments: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """The arguments, with `limit` as `max_new_tokens` unless they set a max length."""
    if any(arguments.get(name) is not None for name in ("max_length", "max_new_tokens")):
        return dict(arguments)
    return {**arguments, "max_new_tokens": limit}


def position_limit(model: GenerativeModel) -> int | None:
    """The number of new tokens for which the decoder has positions; None if it has no limit."""
    decoder: Any = getattr(model.config, "decoder", None)
    is_composed = hasattr(decoder, "model_type")
    config = decoder if is_composed else model.config
    names = ("max_decoder_position_embeddings", "max_position_embeddings")
    limits = [getattr(config, name, None) for name in names]
    limit = next((one for one in limits if isinstance(one, int) and one > 0), None)
    if limit is None:
        return None
    # RoBERTa's positions start after the pad id; the start token takes one too.
    offset = (config.pad_token_id or 0) + 1 if is_composed else 0
    return limit - offset - 1
