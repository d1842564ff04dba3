"""Generation: the sequences that a model generates and their scores.

torch and transformers are imported inside the functions.
"""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ke_t5.errors import UserError
from ke_t5.module_state import reset_module_state
from ke_t5.pipe import decoding
from ke_t5.pipe.arguments import KWARGS, LENGTHS, effective_value

if TYPE_CHECKING:
    import torch

    from ke_t5.pipe.arguments import GenerativeModel


@contextmanager
def being_evaluated(model: torch.nn.Module) -> Iterator[None]:
    """A context in which the model is in evaluation mode and transformers logs only errors; on exit
    the modules' modes and the random states are restored."""
    import numpy as np
    import torch

    library = logging.getLogger("transformers")
    reset_module_state(model)  # first: the modules that it restores have modes too
    random_states = random.getstate(), np.random.get_state()
    level, modes = library.level, {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        library.setLevel(logging.ERROR)
        model.eval()
        try:
            yield
        finally:
            library.setLevel(level)
            random.setstate(random_states[0])
            np.random.set_state(random_states[1])
            for module, is_training in modes.items():
                module.training = is_training


# Properties of the model, not of a task: special tokens, and tokens that are forced or forbidden.
OF_MODEL = (
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids",
)  # fmt: skip
REPORTED = OF_MODEL[4:]
# Settings that affect how sequences are computed and returned, but not the sequences.
_MECHANICS = (
    "transformers_version", "use_cache", "cache_implementation", "cache_config", "output_scores",
    "output_attentions", "output_hidden_states", "output_logits", "return_dict_in_generate",
)  # fmt: skip
# Values without an effect, which configurations of older models spell out.
NEUTRAL = {
    "max_length": 20, "min_length": 0, "do_sample": False, "early_stopping": False,
    "num_beams": 1, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
    "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0,
    "num_return_sequences": 1, "num_beam_groups": 1, "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0,
    "remove_invalid_values": False,
}  # fmt: skip


# What `generate` raises for bad values; not RuntimeError, which the machine causes too.
REJECTIONS = (ValueError, TypeError, IndexError, OverflowError, AttributeError)


def drop_model_values(model: GenerativeModel, arguments: Mapping[str, Any]) -> list[str]:
    """Resets the parameters of the model's `generation_config.json`, so that the task's own apply;
    returns lines about the ignored and the kept ones."""
    from transformers import GenerationConfig

    own, plain = model.generation_config, vars(GenerationConfig())
    ignored = []
    for name, value in sorted(vars(own).items()):
        if name.startswith("_") or name in (*OF_MODEL, *_MECHANICS):
            continue
        if name in plain and value != plain[name]:
            setattr(own, name, plain[name])
            # BART's configuration sets forced_eos_token_id by default; it changes nothing.
            changes_nothing = value in (arguments.get(name), NEUTRAL.get(name), None)
            if name != "forced_eos_token_id" and not changes_nothing:
                ignored.append(f"{name} {value}")
    where, lines = "the model's generation_config", []
    if ignored:
        lines.append(
            f"{where}: ignoring {', '.join(ignored)}; the task's own values apply "
            f"(bind {KWARGS} to set them)"
        )
    remainder = [f"{name} {getattr(own, name)}" for name in REPORTED if getattr(own, name)]
    if remainder:
        lines.append(f"{where}: keeping {', '.join(remainder)}")
    return lines


def try_out(model: GenerativeModel, arguments: Mapping[str, Any]) -> None:
    """Generates two tokens from padding, so that bad values are reported before training.

    Raises:
        UserError: `generate` rejects the arguments.
    """
    import torch

    short = {name: value for name, value in arguments.items() if name not in LENGTHS}
    padding = torch.zeros((2, 1), dtype=torch.int64, device=next(model.parameters()).device)
    inputs = {"input_ids": padding, "attention_mask": torch.ones_like(padding)}
    try:
        with torch.no_grad(), being_evaluated(model):
            generate(model, inputs, {**short, "max_new_tokens": 2})
    except REJECTIONS as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"{type(model).__name__}.generate rejects them: {reason}", KWARGS, "fix the value"
        ) from error


def generate(
    model: GenerativeModel, inputs: Mapping[str, torch.Tensor], arguments: Mapping[str, Any]
) -> tuple[torch.Tensor, list[float] | None]:
    """Token ids [sequences, T], with the sequences of a row next to each other, and their scores.

    A score is exp(transformers' sequence score), where the latter is log-probability / length **
    length_penalty: with a penalty of 1, the geometric mean of the tokens' probabilities. Scores are
    None without a beam search, for which transformers does not compute them.
    """
    has_beams = effective_value(model, arguments, "num_beams", 1) > 1
    more: dict[str, Any] = {"return_dict_in_generate": True}
    if cache := _cache(model, arguments):
        more |= {**cache, "custom_generate": decoding.search}
    elif has_beams:
        more |= {"output_scores": True, "stopping_criteria": _freeing()}
    output: Any = model.generate(**inputs, **{**arguments, **more})
    scores = output.sequences_scores.float().exp().tolist() if has_beams else None
    return output.sequences, scores


def _cache(model: GenerativeModel, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A cache for `generate` that does not copy the cross-attention keys and values; {} if the
    model or the arguments use another cache.

    The beams of a row share them, but transformers copies them at every step: with inputs of 180
    (400) tokens the same output takes 1.5 (2.5) times as long.
    """
    from transformers import DynamicCache

    is_default = (
        effective_value(model, arguments, "use_cache", True)
        and effective_value(model, arguments, "cache_implementation", None) is None
    )
    supports_cache = getattr(model, "_supports_default_dynamic_cache", lambda: False)
    if not (is_default and model.config.is_encoder_decoder and supports_cache()):
        return {}
    config = model.config.get_text_config(decoder=True)
    caches = [DynamicCache(config=config) for _ in range(2)]
    return {"past_key_values": _decoder_cache_class()(*caches)}


@functools.cache
def _decoder_cache_class() -> type:
    from transformers import EncoderDecoderCache

    class DecoderCache(EncoderDecoderCache):
        """A cache of which a beam search reorders only the self-attention entries."""

        def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
            self.self_attention_cache.reorder_cache(beam_idx)

    return DecoderCache


def _freeing() -> Any:
    """A stopping criterion that never stops (see `decoding.free_step_scores`)."""
    from transformers import StoppingCriteriaList

    return StoppingCriteriaList([decoding.free_step_scores])
