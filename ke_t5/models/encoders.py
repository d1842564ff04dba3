"""Base classes of an encoder with a head: T5's, with T5's parameter names, or any other encoder.

A model class combines one of these with a head of `heads` or `structured_heads`, named first.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, T5EncoderModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

from ke_t5.lookup.families import ENCODER_CLASSES, READ_BY_DECODER
from ke_t5.models.configs import EncoderConfig, T5EncoderConfig
from ke_t5.models.crf import CRF
from ke_t5.models.heads import Head
from ke_t5.models.poolings import LayerMix, TokenAttention


class T5EncoderWithHead(Head, T5EncoderModel):
    """T5's encoder (`shared`, `encoder.*`) and a head; the decoder of a whole T5 is not loaded."""

    config_class = T5EncoderConfig
    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^lm_head\."]

    def __init__(self, config: T5EncoderConfig) -> None:
        super().__init__(config)
        self.num_labels = cast(int, config.num_labels)
        self.add_head()
        self.post_init()

    def encode(
        self, *, input_ids: Tensor | None, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor, BaseModelOutput]:
        # T5 has no segments, but a general tokenizer may return segment ids.
        kwargs.pop("token_type_ids", None)
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        return _encoded(output, attention_mask)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # The general rule would draw the head from N(0, initializer_factor), a hundred times too
        # wide. T5's own layers are initialized later, by the modules that contain them.
        _init_head(module)


class EncoderWithHead(Head):
    """Any encoder of transformers (`backbone.*`) and a head."""

    config_class = EncoderConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    # The backbone decides which attention it supports.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^lm_head\.", r"^cls\.", r"pooler\."]

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.num_labels = cast(int, config.num_labels)
        self.backbone = _backbone(config)
        self.add_head()
        self.post_init()

    @classmethod
    def from_pretrained(cls, name: str, *args: Any, **kwargs: Any) -> EncoderWithHead:
        """The model, from a folder of ours or of its encoder (whose own head is ignored)."""
        config = kwargs.get("config")
        if config is None:
            hub = ("cache_dir", "revision", "local_files_only", "token", "subfolder")
            hub_arguments = {key: kwargs[key] for key in hub if key in kwargs}
            config_class: Any = cls.config_class
            config = config_class.from_pretrained(name, trust_remote_code=False, **hub_arguments)
        pattern = rf"^{_backbone_class(config).base_model_prefix}\."
        kwargs.setdefault("key_mapping", {pattern: "backbone."})
        loaded = super().from_pretrained(name, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        # save_pretrained would undo the renaming: two exports of one model would differ.
        renamings = getattr(model, "_weight_conversions", None) or []
        conversions = [one for one in renamings if pattern not in one.source_patterns]
        model._weight_conversions = conversions  # pyright: ignore[reportArgumentType]
        return loaded

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's embedding."""
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the backbone's embedding."""
        self.backbone.set_input_embeddings(value)

    def encode(
        self, *, input_ids: Tensor | None, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor, BaseModelOutput]:
        arguments = {key: value for key, value in kwargs.items() if value is not None}
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **arguments)
        of = "decoder_" if isinstance(output, Seq2SeqModelOutput) else ""
        plain = BaseModelOutput(
            last_hidden_state=output[0],
            hidden_states=getattr(output, f"{of}hidden_states", None),
            attentions=getattr(output, f"{of}attentions", None),  # Mamba has none
        )
        return _encoded(plain, attention_mask)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        _init_head(module)
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=1.0)


def _init_head(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        init.normal_(module.weight, std=module.in_features**-0.5)
    elif isinstance(module, CRF):
        for parameter in module.parameters():
            init.uniform_(parameter, -0.1, 0.1)
    elif isinstance(module, (LayerMix, TokenAttention)):
        for parameter in module.parameters():
            init.zeros_(parameter)


def _encoded(
    output: BaseModelOutput, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor, BaseModelOutput]:
    hidden: Tensor = output[0]
    if attention_mask is None:
        attention_mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    return hidden, attention_mask.bool(), output


def _backbone_class(config: EncoderConfig) -> type[PreTrainedModel]:
    backbone = config.backbone
    if not isinstance(backbone, PreTrainedConfig):
        raise ValueError(f"{type(config).__name__} needs the configuration of an encoder: backbone")
    kind, name = type(backbone), backbone.model_type
    encoders: Any = MODEL_FOR_TEXT_ENCODING_MAPPING
    models: Any = MODEL_MAPPING
    if kind in encoders:
        return encoders[kind]
    if name in ENCODER_CLASSES:
        return getattr(transformers, ENCODER_CLASSES[name])
    if backbone.is_encoder_decoder and name not in READ_BY_DECODER:
        raise ValueError(f"{name} has no encoder that can be used alone")
    known = models[kind]  # for Funnel a pair, with its decoder and without
    return known[0] if isinstance(known, tuple) else known


def _backbone(config: EncoderConfig) -> PreTrainedModel:
    model_class = _backbone_class(config)
    backbone: Any = config.backbone
    # Nothing is generated, so cached keys and values are never used.
    backbone.use_cache = False
    if backbone.model_type == "t5gemma":
        backbone.is_encoder_decoder = False  # its encoder's class requires that
    # No head reads the pooler: its parameters would get no gradient.
    has_pooler = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    options = {"add_pooling_layer": False} if has_pooler else {}
    return model_class._from_config(backbone, **options)
