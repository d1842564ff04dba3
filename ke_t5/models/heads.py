"""Heads with one prediction per text, token, or pair of entities.

A head is a mixin: `add_head` creates its modules, with the parameter names of the released models,
and `forward` computes the output. A model class combines one with an encoder of `encoders`.

Shape letters: B rows, S tokens, D width, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from ke_t5.errors import UserError
from ke_t5.forms import IGNORED
from ke_t5.models.poolings import LayerMix, Pooler, TokenAttention, mean_over_tokens, span_mean


def exact(logits: Tensor) -> Tensor:
    """The logits in float32 or float64, because half precision is too coarse for a loss."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the labels [...] that are not -100, for logits [..., C]; 0 without labels."""
    total = functional.cross_entropy(
        exact(logits).flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp(min=1)


def flattened(inputs: Tensor | None) -> Tensor | None:
    """[B N, ...] from [B, N, ...]."""
    return None if inputs is None else inputs.flatten(0, 1)


def vectors_at(hidden: Tensor, index: Tensor) -> Tensor:
    """[B, N, D]: the vectors of hidden [B, S, D] at index [B, N]; the first if it is negative."""
    index = index.clamp(min=0).unsqueeze(-1).expand(-1, -1, hidden.size(-1))
    return hidden.gather(1, index)


def sequence_loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """The mean loss of [B, C] logits, of the type that transformers would choose.

    Args:
        problem_type: "regression", "single_label_classification", "multi_label_classification", or
            None to infer it from the number of classes and the labels' type.
    """
    if problem_type is None and logits.size(-1) == 1:
        problem_type = "regression"
    elif problem_type is None:
        is_multi = labels.is_floating_point()
        problem_type = f"{'multi' if is_multi else 'single'}_label_classification"
    logits = exact(logits)
    if problem_type == "regression":
        return functional.mse_loss(logits, labels.view(logits.shape).to(logits.dtype))
    if problem_type == "single_label_classification":
        return mean_cross_entropy(logits, labels.view(-1))
    if problem_type == "multi_label_classification":
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    raise ValueError(f"unknown problem_type {problem_type!r}")


class Head(PreTrainedModel):
    """Base class of the heads; `encode` comes from the encoder class beside it.

    Attributes:
        task_forms: the forms of task that the head serves.
        loss_divisor: the loss reduction, if it is not the task's.
        reads_every_layer: whether the head reads more than the encoder's last layer.
    """

    task_forms: tuple[str, ...] = ()
    loss_divisor: str | None = None
    reads_every_layer: bool = False
    num_labels: int

    def add_head(self) -> None:
        """Adds the head's modules to the model."""
        raise NotImplementedError

    def encode(
        self, *, input_ids: Tensor | None, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor, BaseModelOutput]:
        """Vectors [B, S, D], the mask [B, S] (by default all true), and the encoder's output."""
        raise NotImplementedError


class SequenceHead(Head):
    """A class, or a number, for a text: `dropout` and `classifier` on its pooled vector.

    There is no new layer between the encoder and the classifier: a pooler that was not pretrained
    can keep a short fine-tuning from learning anything.
    """

    @staticmethod
    def pool(hidden: Tensor, mask: Tensor) -> Tensor:
        """The vector [B, D] of each text, from its unmasked tokens [B, S, D]."""
        raise NotImplementedError

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.classifier = nn.Linear(self.config.hidden_size, self.num_labels)

    def pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The vectors [B, D] of the texts."""
        return self.pool(hidden, mask)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Logits [B, C] for each text; labels are [B] ids or numbers, or [B, C] zeros and ones."""
        hidden, mask, output = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = self.classifier(self.dropout(self.pooled(hidden, mask)))
        loss = None if labels is None else sequence_loss(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )


class SequenceHeadWithPooler(SequenceHead):
    """`pooler`, whose layers are newly initialized, `dropout` and `classifier`."""

    def add_head(self) -> None:
        self.pooler = Pooler(self.config.hidden_size, self.config.dropout_rate, self.pool)
        super().add_head()

    def pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.pooler(hidden, mask)


class SequenceHeadWithAttention(SequenceHead):
    """`token_attention`, a pooling by a learned query, `dropout` and `classifier`."""

    def add_head(self) -> None:
        self.token_attention = TokenAttention(self.config.hidden_size)
        super().add_head()

    def pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.token_attention(hidden, mask)


class SequenceHeadOnLayers(SequenceHead):
    """`layer_mix`, a learned weighting of all layers, `dropout` and `classifier`."""

    reads_every_layer = True

    def add_head(self) -> None:
        self.layer_mix = LayerMix(self.config.number_of_hidden_states)
        super().add_head()

    def encode(
        self, *, output_hidden_states: bool | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor, BaseModelOutput]:
        _, mask, output = super().encode(output_hidden_states=True, **kwargs)
        layers, expected = output.hidden_states or (), self.config.number_of_hidden_states
        if len(layers) != expected:
            what = f"the encoder returns the states of {len(layers)} layers instead of {expected}"
            fix = "choose EncoderForSequenceClassificationMean, which reads only the last one"
            raise UserError(what, f"--model_name {type(self).__name__}", fix)
        hidden = self.layer_mix(layers)
        if not output_hidden_states:
            output.hidden_states = None
        return hidden, mask, output


class ChoiceHead(Head):
    """A score for each of N choices: `dropout` and `classifier` on the mean of its tokens."""

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.classifier = nn.Linear(self.config.hidden_size, 1)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> MultipleChoiceModelOutput:
        """Logits [B, N] for inputs [B, N, S] (or [B, N, S, D]); labels [B] are choices."""
        inputs = input_ids if input_ids is not None else inputs_embeds
        if inputs is None or inputs.dim() < 3:
            raise ValueError("input_ids [rows, choices, tokens] or inputs_embeds are required")
        hidden, mask, output = self.encode(
            input_ids=flattened(input_ids),
            attention_mask=flattened(attention_mask),
            inputs_embeds=flattened(inputs_embeds),
            token_type_ids=flattened(token_type_ids),
            **kwargs,
        )
        scores = self.classifier(self.dropout(mean_over_tokens(hidden, mask)))
        logits = scores.view(inputs.shape[:2])
        return MultipleChoiceModelOutput(
            loss=None if labels is None else mean_cross_entropy(logits, labels),
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )


class EntityPairHead(Head):
    """The relation of two entities: `pooler`, `dropout`, `fc_layer.0` (for both entities) and
    `classifier.0`, on three vectors."""

    @staticmethod
    def pool(hidden: Tensor, mask: Tensor) -> Tensor:
        """The vector [B, D] of each text, from its unmasked tokens [B, S, D]."""
        raise NotImplementedError

    def add_head(self) -> None:
        width = self.config.hidden_size
        self.pooler = Pooler(width, self.config.dropout_rate, self.pool)
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.fc_layer = nn.Sequential(nn.Linear(width, width))
        self.classifier = nn.Sequential(nn.Linear(3 * width, self.num_labels))

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        entity_token_idx: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Logits [B, C] for the relation of two entities.

        Args:
            entity_token_idx: [B, 2, 2], first and end (exclusive) token of subject and object.
        """
        if entity_token_idx is None:
            raise ValueError("entity_token_idx [B, 2, 2] is required: tokens of subject and object")
        hidden, mask, output = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        entities = [
            self.fc_layer(span_mean(hidden, entity_token_idx[:, which])) for which in (0, 1)
        ]
        vectors = [self.dropout(self.pooler(hidden, mask)), *entities]
        logits = self.classifier(torch.cat(vectors, dim=-1))
        loss = None if labels is None else sequence_loss(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )


class TokenHead(Head):
    """A class for each token: `dropout` and `classifier`."""

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.classifier = nn.Linear(self.config.hidden_size, self.num_labels)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Logits [B, S, C] for each token; labels [B, S] that are -100 or padding are ignored."""
        hidden, mask, output = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = self.classifier(self.dropout(hidden))
        loss = None
        if labels is not None:
            loss = mean_cross_entropy(logits, labels.masked_fill(~mask, IGNORED))
        return TokenClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )


class AnswerHead(Head):
    """An answer span in a passage: `dropout` and `qa_outputs`, a start and end score per token."""

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.qa_outputs = nn.Linear(self.config.hidden_size, 2)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput:
        """Start and end logits [B, S]; gold positions [B] (end inclusive) outside the text are
        ignored."""
        hidden, mask, output = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = self.qa_outputs(self.dropout(hidden))
        logits = logits.masked_fill(~mask.unsqueeze(-1), torch.finfo(logits.dtype).min)
        start, end = logits.unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            gold = [_inside_text(places, mask) for places in (start_positions, end_positions)]
            loss = (mean_cross_entropy(start, gold[0]) + mean_cross_entropy(end, gold[1])) / 2
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start,
            end_logits=end,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )


def _inside_text(positions: Tensor, mask: Tensor) -> Tensor:
    """The positions [B]; -100 for those outside the mask [B, S]."""
    positions = positions.view(-1)
    inside = (positions >= 0) & (positions < mask.size(1))
    is_unmasked = mask.gather(1, positions.where(inside, 0).unsqueeze(1)).squeeze(1)
    return positions.masked_fill(~(inside & is_unmasked), IGNORED)
