"""Generation by CTranslate2 (the extra "ctranslate2"): with `EvaluationHelper.engine` set to
'ctranslate2' in the run's precision, with 'ctranslate2-int8' in 8-bit weights.

The weights of the model in memory are converted into a folder that is removed once they are loaded.
Token ids serve as tokens, so that no tokenizer is needed. The beam search stops like that of
transformers with `early_stopping=True`.

torch, transformers and ctranslate2 are imported inside the functions.
"""

from __future__ import annotations

import copy
import logging
import math
import tempfile
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError, counted_of
from ke_t5.extras import require_extra
from ke_t5.pipe import generation
from ke_t5.pipe.arguments import KWARGS, effective_value

if TYPE_CHECKING:
    import torch

    from ke_t5.pipe.arguments import Generative, GenerativeModel

logger = logging.getLogger(__name__)

ENGINE, INT8 = "ctranslate2", "ctranslate2-int8"
BACK = "unset the engine"
CONFIGS = ("T5Config", "MT5Config", "BartConfig", "MBartConfig")
# Arguments of `generate` -> those of CTranslate2.
SAME = {
    "num_beams": "beam_size", "length_penalty": "length_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram_size", "num_return_sequences": "num_hypotheses",
}  # fmt: skip
LENGTHS = ("max_new_tokens", "max_length", "min_new_tokens", "min_length")
# In a beam search transformers excludes tokens after the softmax, CTranslate2 before it, so that
# other scores differ (24 of 60 answers with a min length, 6 of 60 with a no-repeat size of 2).
GREEDY_ONLY = ("min_new_tokens", "min_length", "no_repeat_ngram_size")
# Rows whose answers are compared with those of `generate`, and the share of them that may differ:
# rounding can swap two beams of nearly equal scores. 8 bits change more: 12 % of the answers of a
# T5 4+4 x 256 that was trained on the sample.
COMPARED, MOST_UNEQUAL = 16, {ENGINE: 0.25, INT8: 0.5}


def where(engine: str) -> str:
    """The name and value of the setting, for messages."""
    return f"EvaluationHelper.engine={engine!r}"


def check_engine(model: Generative, arguments: Mapping[str, Any], engine: str = ENGINE) -> None:
    """Raises UserError if CTranslate2 is not installed or does not support the model or an argument
    of `generate`."""
    place = where(engine)
    require_extra(place, ENGINE, ENGINE)
    owner: Any = model if isinstance(model, type) else type(model)
    config = getattr(owner, "config_class", None)
    if config is None or config.__name__ not in CONFIGS or "transformers" not in owner.__module__:
        raise UserError(f"supports T5, mT5, BART and mBART, not {owner.__name__}", place, BACK)
    has_beams = effective_value(model, arguments, "num_beams", 1) > 1
    if has_beams and effective_value(model, arguments, "early_stopping", False) is not True:
        what = "its beam search needs 'early_stopping': True"
        raise UserError(what, f"{KWARGS} with {place}", "set that, or " + BACK)
    neutral = {**generation.NEUTRAL, "early_stopping": True, "use_cache": True}
    if not has_beams:  # then it has no effect
        neutral["early_stopping"] = arguments.get("early_stopping")
    for name, value in sorted(arguments.items()):
        is_taken = name in SAME or name in LENGTHS
        if value is None or value == neutral.get(name, False):
            continue
        if is_taken and not (has_beams and name in GREEDY_ONLY):
            continue
        what = (
            f"scores beams differently with {name!r}" if is_taken else f"does not support {name!r}"
        )
        raise UserError(what, f"{KWARGS} with {place}", "remove that, or " + BACK)
    for name in generation.REPORTED:
        if getattr(getattr(model, "generation_config", None), name, None):
            raise UserError(f"does not support the model's {name!r}", place, BACK)


class Translator:
    """A model's weights in CTranslate2.

    Args:
        model: a model of a supported class (see `check_engine`), on its device.
        arguments: the arguments of `generate`.
        engine: `ENGINE` or `INT8`.
        num_workers: number of batches that it computes at once, each on `num_threads` CPU threads.

    Raises:
        UserError: the weights cannot be converted.
    """

    def __init__(
        self, model: GenerativeModel, arguments: Mapping[str, Any], *, engine: str = ENGINE,
        num_workers: int = 1, num_threads: int = 1,
    ) -> None:  # fmt: skip
        import ctranslate2

        self.engine, self._arguments = engine, arguments
        device = next(model.parameters()).device
        with tempfile.TemporaryDirectory() as folder:
            try:
                _converter(model).convert(folder, force=True)
            except (ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
                reason = " ".join(str(error).split())
                what = f"cannot convert the model ({reason:.80})"
                raise UserError(what, where(engine), BACK) from error
            self._translator = ctranslate2.Translator(
                folder, device=device.type, device_index=device.index or 0,
                compute_type=_compute_type(device, engine), inter_threads=num_workers,
                intra_threads=num_threads,
            )  # fmt: skip
        self._options = _options(model, arguments)

    def generate(
        self, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[list[list[int]], list[float] | None]:
        """Token ids of each sequence, with the sequences of a row next to each other, and their
        scores, as from `generation.generate`."""
        lengths = inputs["attention_mask"].sum(1).tolist()
        rows = zip(inputs["input_ids"].tolist(), lengths, strict=True)
        source = [[str(token) for token in row[:length]] for row, length in rows]
        found = self._translator.translate_batch(source, **self._options)
        ids = [[int(token) for token in one] for row in found for one in row.hypotheses]
        if self._options["beam_size"] == 1:
            return ids, None
        return ids, [math.exp(score) for row in found for score in row.scores]

    def compare(
        self, ids: list[list[int]], model: GenerativeModel, inputs: Mapping[str, torch.Tensor]
    ) -> None:
        """Compares the answers to the first rows with those of the model's `generate`; logs it.

        Args:
            ids: the ids that the translator's `generate` returned for these inputs.

        Raises:
            UserError: too many answers differ.
        """
        some = {name: tensor[:COMPARED] for name, tensor in inputs.items()}
        theirs = generation.generate(model, some, self._arguments)[0].tolist()
        end = effective_value(model, self._arguments, "eos_token_id", None)
        ends = {*(end if isinstance(end, list) else [end]), model.generation_config.pad_token_id}
        plain = [[token for token in row[1:] if token not in ends] for row in theirs]
        equal = sum(a == b for a, b in zip(ids[: len(plain)], plain, strict=True))
        found = counted_of(equal, len(plain), "answer", ("equals", "equal"))
        logger.info("%s: %s those of generate", self.engine, found)
        if len(plain) - equal > MOST_UNEQUAL[self.engine] * len(plain):
            what = f"only {found} those of generate"
            raise UserError(what, where(self.engine), BACK, Exit.CHECKPOINT)


def _options(model: GenerativeModel, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `translate_batch`."""
    given = {name: x for name, x in arguments.items() if x is not None}
    # `*_length` counts the decoder's start token too.
    longest = given.get("max_new_tokens", given.get("max_length", 0) - 1)
    shortest = given.get("min_new_tokens", given.get("min_length", 1) - 1)
    end = effective_value(model, arguments, "eos_token_id", None)
    return {
        "beam_size": 1, "length_penalty": 1.0,
        **{other: given[name] for name, other in SAME.items() if name in given},
        "max_decoding_length": longest, "min_decoding_length": max(0, shortest),
        "max_input_length": 0, "return_scores": True,
        "end_token": [str(one) for one in (end if isinstance(end, list) else [end])],
    }  # fmt: skip


def _compute_type(device: torch.device, engine: str) -> str:
    """int8, or the type of the run's precision, from autocast; float32 if CTranslate2 does not
    support it on this device, as bfloat16 on most CPUs."""
    import ctranslate2
    import torch

    wanted = "float32"
    if engine == INT8:
        wanted = "int8"
    elif torch.is_autocast_enabled(device.type):
        formats = {torch.bfloat16: "bfloat16"}
        wanted = formats.get(torch.get_autocast_dtype(device.type), "float16")
    if wanted in ctranslate2.get_supported_compute_types(device.type, device.index or 0):
        return wanted
    logger.info("%s: no %s on this device, so float32", engine, wanted)
    return "float32"


def _converter(model: GenerativeModel) -> Any:
    """CTranslate2's converter of a model in memory."""
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoConfig

    ids = _ids(model)

    class Converter(TransformersConverter):
        def load_model(self, *_: Any, **__: Any) -> Any:
            weights = {
                name: tensor.detach().to("cpu", torch.float32)
                for name, tensor in model.state_dict().items()
            }
            with torch.device("meta"):
                twin = type(model)(copy.deepcopy(model.config))  # pyright: ignore[reportCallIssue]
            twin.load_state_dict(weights, assign=True)
            if not hasattr(twin.config, "normalize_before"):  # only old configurations have it
                twin.config.normalize_before = "MBart" in type(twin.config).__name__
            return twin

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return ids

        def _load(self) -> Any:
            with tempfile.TemporaryDirectory() as folder:
                model.config.save_pretrained(folder)
                self._model_name_or_path = folder
                assert type(AutoConfig.from_pretrained(folder)) is type(model.config)
                spec = super()._load()
            start = model.generation_config.decoder_start_token_id
            spec.config.decoder_start_token = ids.convert_ids_to_tokens(start)
            if hasattr(model.config, "scale_decoder_outputs"):
                width = model.config.d_model if model.config.scale_decoder_outputs else 1
                spec.decoder.scale_outputs = float(width) ** -0.5
            return spec

    return Converter("")


def _ids(model: GenerativeModel) -> Any:
    """A stand-in tokenizer for the converter, whose tokens are the ids."""
    config = model.generation_config
    end = config.eos_token_id
    end, pad = (end[0] if isinstance(end, list) else end), config.pad_token_id
    return SimpleNamespace(
        get_vocab=lambda: {str(i): i for i in range(model.config.vocab_size)},
        convert_ids_to_tokens=str,
        eos_token=str(end), pad_token=str(pad), unk_token=str(pad),
        bos_token=str(pad if config.bos_token_id is None else config.bos_token_id),
    )  # fmt: skip
