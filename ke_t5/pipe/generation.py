"""Generation: what a model writes, and how sure it was.

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
from ke_t5.pipe.arguments import KWARGS, LENGTHS, in_force
from ke_t5.pipe.module_state import reset_module_state

if TYPE_CHECKING:
    import torch


@contextmanager
def being_evaluated(model: torch.nn.Module) -> Iterator[None]:
    """Within it the model is in evaluation mode and transformers logs errors only; afterwards every
    module is in the mode it was in, and the random numbers go on where they were."""
    import numpy as np
    import torch

    library = logging.getLogger("transformers")
    reset_module_state(model)  # before the modes are noted: a module that comes back has one too
    drawn = random.getstate(), np.random.get_state()
    level, modes = library.level, {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        library.setLevel(logging.ERROR)
        model.eval()
        try:
            yield
        finally:
            library.setLevel(level)
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])
            for module, is_training in modes.items():
                module.training = is_training


# What belongs to the model and not to a task: special tokens, and tokens that it must (not) write.
OF_MODEL = (
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids",
)  # fmt: skip
_MUST_BE_TOLD = OF_MODEL[4:]
# How the answers are computed and handed over, and not what they are.
_MECHANICS = (
    "transformers_version", "use_cache", "cache_implementation", "cache_config", "output_scores",
    "output_attentions", "output_hidden_states", "output_logits", "return_dict_in_generate",
)  # fmt: skip
# Values that change nothing, as the configurations of older models spell them out.
_NEUTRAL = {
    "max_length": 20, "min_length": 0, "do_sample": False, "early_stopping": False,
    "num_beams": 1, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
    "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0,
    "num_return_sequences": 1, "num_beam_groups": 1, "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0,
    "remove_invalid_values": False,
}  # fmt: skip


def take_task_values(model: torch.nn.Module, arguments: Mapping[str, Any]) -> list[str]:
    """Clears what the model's folder says about generation (`generation_config.json`): a task's
    answers are written as the task says. Lines about what was left out and what is in force."""
    from transformers import GenerationConfig

    own, plain = model.generation_config, vars(GenerationConfig())
    left_out = []
    for name, value in sorted(vars(own).items()):
        if name.startswith("_") or name in (*OF_MODEL, *_MECHANICS):
            continue
        if name in plain and value != plain[name]:
            setattr(own, name, plain[name])
            # BART's configuration has one by default; the end mark itself changes nothing.
            changes_nothing = value in (arguments.get(name), _NEUTRAL.get(name), None)
            if name != "forced_eos_token_id" and not changes_nothing:
                left_out.append(f"{name} {value}")
    where, lines = "the model's generation_config", []
    if left_out:
        lines.append(
            f"{where}: {', '.join(left_out)} left out, the task's own values count "
            f"(bind {KWARGS} to set them)"
        )
    in_force = [f"{name} {getattr(own, name)}" for name in _MUST_BE_TOLD if getattr(own, name)]
    if in_force:
        lines.append(f"{where}: {', '.join(in_force)} in force")
    return lines


def try_out(model: torch.nn.Module, arguments: Mapping[str, Any]) -> None:
    """Generates two tokens from nothing: values that `generate` refuses are known before training.

    Raises:
        UserError: with what transformers says of them.
    """
    import torch

    short = {name: value for name, value in arguments.items() if name not in LENGTHS}
    nothing = torch.zeros((2, 1), dtype=torch.int64, device=next(model.parameters()).device)
    inputs = {"input_ids": nothing, "attention_mask": torch.ones_like(nothing)}
    try:
        with torch.no_grad(), being_evaluated(model):
            generate(model, inputs, {**short, "max_new_tokens": 2})
    except (ValueError, TypeError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"{type(model).__name__}.generate refuses them: {reason}", KWARGS, "mend the value"
        ) from error


def generate(
    model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], arguments: Mapping[str, Any]
) -> tuple[torch.Tensor, list[float] | None]:
    """Token ids [answers, T], the answers to one row side by side, and how sure a beam search is.

    That is exp(transformers' sequence score), the score being log-probability / length **
    length_penalty: where the penalty is 1, the geometric mean of the tokens' probabilities. Without
    beams it is None: transformers has no score at hand.
    """
    from transformers import StoppingCriteriaList

    if in_force(model, arguments, "num_beams", 1) == 1:
        output = model.generate(**inputs, **{**arguments, "return_dict_in_generate": True})
        return output.sequences, None
    wanted = {
        "return_dict_in_generate": True,
        "output_scores": True,
        "stopping_criteria": StoppingCriteriaList([_forget_step]),
        **_beam_cache(model, arguments),
    }
    output = model.generate(**inputs, **{**arguments, **wanted})
    return output.sequences, output.sequences_scores.float().exp().tolist()


def _beam_cache(model: torch.nn.Module, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A cache for `generate` that leaves the keys and values of the encoder's states where they
    are; {} for a model or arguments with a cache of their own.

    The beams of a row have these in common, but transformers copies them all at every step: with
    inputs of 180 (400) tokens the same answers take 1.5 (2.5) times as long.
    """
    from transformers import DynamicCache

    is_as_usual = (
        in_force(model, arguments, "use_cache", True)
        and in_force(model, arguments, "cache_implementation", None) is None
    )
    serves = getattr(model, "_supports_default_dynamic_cache", lambda: False)
    if not (is_as_usual and model.config.is_encoder_decoder and serves()):
        return {}
    config = model.config.get_text_config(decoder=True)
    caches = [DynamicCache(config=config) for _ in range(2)]
    return {"past_key_values": _still_cache()(*caches)}


@functools.cache
def _still_cache() -> type:
    from transformers import EncoderDecoderCache

    class StillCache(EncoderDecoderCache):
        """A cache of which beams move the decoder's part only."""

        def reorder_cache(self, beam_idx: torch.Tensor) -> None:
            self.self_attention_cache.reorder_cache(beam_idx)

    return StillCache


def _forget_step(input_ids: torch.Tensor, scores: tuple | None, **_: Any) -> torch.Tensor:
    """Never stops, and frees the step's scores over the vocabulary, which nobody will read.

    transformers gives the scores of sequences only with those of every step: gigabytes.
    """
    import torch

    for step in (scores or ())[-1:]:
        step.set_()
    return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
