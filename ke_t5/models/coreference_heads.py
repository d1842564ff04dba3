"""The head for coreference: which spans of a document refer to the same entity.

Shape letters: B documents, W windows, S tokens per window, D width, K kept mentions, G gold
mentions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils.generic import ModelOutput, can_return_tuple

from ke_t5.errors import UserError
from ke_t5.models.heads import Head, exact, flattened, vectors_at


@dataclass
class CoreferenceOutput(ModelOutput):
    """The most likely mentions of each document, in document order, and their antecedents.

    Args:
        loss: mean over documents of the mean over mentions of the negative log-likelihood of all
            gold antecedents together.
        antecedent_logits: [B, K, K + 1], for no antecedent (always 0) and each earlier mention.
        mention_logits: [B, K].
        mention_spans: [B, K, 2], first and last token in the document; -1 is padding.
    """

    loss: Tensor | None = None
    antecedent_logits: Tensor | None = None
    mention_logits: Tensor | None = None
    mention_spans: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class _Mentions:
    """The kept mentions.

    Attributes:
        tokens: [B, K] each, first and last token among the W S of all windows.
        spans: [B, K, 2], first and last token in the document; -1 is padding.
        logits: [B, K].
        is_real: [B, K], false for padding.
    """

    tokens: tuple[Tensor, Tensor]
    spans: Tensor
    logits: Tensor
    is_real: Tensor


class CoreferenceHead(Head):
    """Scores mentions and antecedents by their first and last tokens, without a vector per span
    (Kirstain et al. 2021): `mention_*` and `antecedent_*`.

    A document is encoded in windows; antecedents are searched across all of them.
    """

    def add_head(self) -> None:
        width, space = self.config.hidden_size, self.config.mention_width
        if not self.config.mentions_per_token > 0:
            what = f"is {self.config.mentions_per_token}"
            raise UserError(what, "mentions_per_token", "give a number above 0, such as 0.4")
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.mention_start = nn.Linear(width, space)
        self.mention_end = nn.Linear(width, space)
        # With its bias, one layer has both terms that contain the end: (U start + b) . end
        self.mention_product = nn.Linear(space, space)
        self.mention_score = nn.Linear(space, 1)
        self.antecedent_start = nn.Linear(width, space)
        self.antecedent_end = nn.Linear(width, space)
        # Starts and ends of both mentions: the four terms of the paper are one product.
        self.antecedent_product = nn.Linear(2 * space, 2 * space)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        sentence_ids: Tensor | None = None,
        window_lengths: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> CoreferenceOutput:
        """Mentions and their antecedents.

        Args:
            input_ids, attention_mask: [B, W, S], the windows of each document in order.
            sentence_ids: [B, W, S], the sentence of each token; -1 for special tokens and padding.
                A mention lies within one sentence.
            window_lengths: [B, W], tokens of each window, special ones included.
            labels: [B, G, 3], first and last token in the document of each gold mention, and the
                number of its chain; -100 is padding.
        """
        if sentence_ids is None or window_lengths is None:
            raise ValueError("sentence_ids [B, W, S] and window_lengths [B, W] are needed")
        hidden, _, output = self.encode(
            input_ids=flattened(input_ids),
            attention_mask=flattened(attention_mask),
            inputs_embeds=flattened(inputs_embeds),
            token_type_ids=flattened(token_type_ids),
            **kwargs,
        )
        hidden = self.dropout(hidden).unflatten(0, sentence_ids.shape[:2])
        gold = labels if self.training else None
        mentions = self._mentions(hidden, sentence_ids, window_lengths, gold)
        logits = self._antecedent_logits(hidden.flatten(1, 2), mentions)
        return CoreferenceOutput(
            loss=None if labels is None else antecedent_loss(logits, mentions.spans, labels),
            antecedent_logits=logits,
            mention_logits=mentions.logits,
            mention_spans=mentions.spans,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def _mentions(
        self, hidden: Tensor, sentence_ids: Tensor, lengths: Tensor, gold: Tensor | None
    ) -> _Mentions:
        """The spans with the highest scores, in document order; during training the `gold` ones
        first. Without a gold mention, the model could reach a loss of 0 by rejecting all spans."""
        logits = self._span_logits(hidden)
        lowest, highest = torch.finfo(logits.dtype).min, torch.finfo(logits.dtype).max
        logits = logits.masked_fill(~_are_spans(sentence_ids), lowest).flatten(1)  # [B, W S S]
        ranks = logits.detach()
        if gold is not None:
            is_gold = _gold_places(gold, lengths, sentence_ids.size(2), ranks)
            ranks = ranks.masked_fill(is_gold & (ranks > lowest), highest)
        share, num_tokens = self.config.mentions_per_token, sentence_ids[0].numel()
        size = min(math.ceil(share * num_tokens), self.config.max_mentions, logits.size(1))
        best = ranks.topk(size)
        limit = (share * (sentence_ids >= 0).sum((1, 2))).ceil().unsqueeze(1)
        is_real = torch.arange(size, device=logits.device) < limit
        is_real &= best.values > lowest
        # Padding comes last.
        index = best.indices.masked_fill(~is_real, logits.size(1)).sort(1).values
        is_real = index < logits.size(1)
        index = index.masked_fill(~is_real, 0)
        length = sentence_ids.size(2)
        window = index // length**2
        start, end = index // length % length, index % length
        begin = (lengths.cumsum(1) - lengths).gather(1, window)
        spans = torch.stack([begin + start, begin + end], dim=-1)
        return _Mentions(
            (window * length + start, window * length + end),
            spans.masked_fill(~is_real.unsqueeze(-1), -1),
            logits.gather(1, index),
            is_real,
        )

    def _span_logits(self, hidden: Tensor) -> Tensor:
        """[B, W, S, S]: the mention score of each span, by its first and last token."""
        start = functional.gelu(self.mention_start(hidden))
        end = functional.gelu(self.mention_end(hidden))
        product = exact(self.mention_product(start) @ end.transpose(-1, -2))
        return product / end.size(-1) ** 0.5 + exact(self.mention_score(start))

    def _antecedent_logits(self, hidden: Tensor, mentions: _Mentions) -> Tensor:
        """[B, K, K + 1] from vectors [B, W S, D]."""
        ends = [
            functional.gelu(layer(vectors_at(hidden, tokens)))
            for layer, tokens in zip(
                (self.antecedent_start, self.antecedent_end), mentions.tokens, strict=True
            )
        ]
        vectors = torch.cat(ends, dim=-1)
        product = exact(self.antecedent_product(vectors) @ vectors.transpose(1, 2))
        logits = product / vectors.size(-1) ** 0.5
        logits = logits + mentions.logits.unsqueeze(2) + mentions.logits.unsqueeze(1)
        is_real = mentions.is_real
        is_before = torch.ones_like(logits, dtype=torch.bool).tril(-1)
        is_allowed = is_before & is_real.unsqueeze(1) & is_real.unsqueeze(2)
        logits = logits.masked_fill(~is_allowed, torch.finfo(logits.dtype).min)
        return functional.pad(logits, (1, 0))


def antecedent_loss(logits: Tensor, spans: Tensor, labels: Tensor) -> Tensor:
    """The mean over documents with labels of the mean over their mentions.

    The gold antecedents of a mention are the earlier kept mentions of its chain; if there are none,
    or it is not a gold mention, the gold answer is "no antecedent".

    Args:
        logits: [B, K, K + 1]; spans: [B, K, 2]; labels: [B, G, 3].
    """
    is_same = (spans.unsqueeze(2) == labels[..., :2].unsqueeze(1)).all(-1)  # [B, K, G]
    is_same &= (labels[..., 2] >= 0).unsqueeze(1)
    chains = (is_same * (labels[..., 2] + 1).unsqueeze(1)).amax(-1)  # 0: no chain
    is_gold = (chains.unsqueeze(2) == chains.unsqueeze(1)) & (chains > 0).unsqueeze(2)
    is_gold = is_gold.tril(-1)
    is_gold = torch.cat([~is_gold.any(2, keepdim=True), is_gold], dim=2)
    right = logits.masked_fill(~is_gold, torch.finfo(logits.dtype).min)
    losses = logits.logsumexp(2) - right.logsumexp(2)
    is_real = spans[..., 0] >= 0
    num_mentions = is_real.sum(1).clamp(min=1)
    by_document = losses.masked_fill(~is_real, 0.0).sum(1) / num_mentions
    is_labelled = (labels[..., 2] >= 0).any(1)
    return (by_document * is_labelled).sum() / is_labelled.sum().clamp(min=1)


def _gold_places(labels: Tensor, lengths: Tensor, size: int, spans: Tensor) -> Tensor:
    """[B, W S S], the shape of `spans`: which spans are gold mentions.

    Args:
        labels: [B, G, 3].
        lengths: [B, W], tokens of each window.
        size: S.
    """
    first, last, chain = labels.unbind(-1)
    ends = lengths.cumsum(1)
    window = (first.unsqueeze(2) >= ends.unsqueeze(1)).sum(2).clamp(max=lengths.size(1) - 1)
    begin = (ends - lengths).gather(1, window)
    place = window * size**2 + (first - begin) * size + last - begin
    is_real = chain >= 0
    found = torch.zeros(spans.size(0), spans.size(1) + 1, dtype=torch.bool, device=spans.device)
    # Padding goes to an extra column, which is cut off.
    return found.scatter(1, place.where(is_real, spans.size(1)), True)[:, :-1]


def _are_spans(sentence_ids: Tensor) -> Tensor:
    """[B, W, S, S]: whether a first and a last token are in order and in one sentence."""
    start, end = sentence_ids.unsqueeze(-1), sentence_ids.unsqueeze(-2)
    num_tokens = sentence_ids.size(-1)
    order = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=start.device).triu()
    return (start == end) & (start >= 0) & order
