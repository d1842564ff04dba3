"""Heads with dependent predictions, or with predictions for characters or words.

Shape letters: B rows, S tokens, K characters, W words, D width, C classes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils.generic import ModelOutput, can_return_tuple

from ke_t5.forms import IGNORED
from ke_t5.models.crf import CRF
from ke_t5.models.heads import Head, exact, mean_cross_entropy, vectors_at


class CrfHead(Head):
    """A tag for each token by a linear-chain CRF: `dropout`, `position_wise_ff` and `crf`."""

    loss_divisor = "rows"

    def add_head(self) -> None:
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.position_wise_ff = nn.Linear(self.config.hidden_size, self.num_labels)
        self.crf = CRF(self.num_labels)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """The best tag ids of each row's unmasked tokens, as nested lists in `logits`.

        Args:
            labels: [B, S]; `loss` is the mean negative log-likelihood over the sentences that have
                a label. A token labelled -100 stays in the chain with an unknown tag. In training
                mode with labels, `logits` is None, because the search would slow down each step.
        """
        hidden, mask, output = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            token_type_ids=token_type_ids,
            **kwargs,
        )
        emissions = self.position_wise_ff(self.dropout(hidden))
        loss, tags = _crf_results(self, self.crf, emissions, labels, mask)
        return TokenClassifierOutput(
            loss=loss, logits=tags, hidden_states=output.hidden_states, attentions=output.attentions
        )


# A CRF's control flow depends on the lengths of a batch: torch.compile would break it into dozens
# of graphs and recompile them for other lengths.
_not_compiled: Any = torch.compiler.disable  # untyped


@_not_compiled
def _crf_results(
    head: Head, crf: CRF, emissions: Tensor, labels: Tensor | None, mask: Tensor
) -> tuple[Tensor | None, list[list[int]] | None]:
    forbidden = loss = None
    if head.config.crf_iob2:
        id2label: Any = head.config.id2label
        names = tuple(id2label[index] for index in range(head.num_labels))
        forbidden = iob2_forbidden(names, emissions.device)
    if labels is not None:
        # A sentence without a label has the loss 0 and does not count.
        num_labelled = ((labels >= 0) & mask).any(1).sum()
        loss = crf(emissions, labels, mask, forbidden).sum() / num_labelled.clamp(min=1)
        if head.training:
            return loss, None
    return loss, crf.decode(emissions, mask, forbidden)


@functools.lru_cache(maxsize=8)
def iob2_forbidden(names: tuple[str, ...], device: torch.device | str = "cpu") -> Tensor:
    """[T + 1, T] booleans: whether tag j may not follow tag i; the last row is the start.

    Types without a B- tag follow another scheme and are not restricted. The result is cached: do
    not modify it.

    >>> iob2_forbidden(("B-X", "I-X", "O")).int().tolist()
    [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 0]]
    """
    inside = {f"I-{name[2:]}" for name in names if name[:2] == "B-"}
    rows = []
    for before in [*names, ""]:
        opens = before[:2] in ("B-", "I-")
        rows.append([name in inside and not (opens and name[2:] == before[2:]) for name in names])
    with torch.inference_mode(False):  # a table cached during evaluation must serve training, too
        return torch.tensor(rows, device=device)


class CharacterHead(Head):
    """A tag for each character, independent of the token boundaries: `places_from_start`,
    `places_from_end`, `dense`, `dropout`, `classifier` and, if configured, `crf`."""

    @property
    def loss_divisor(self) -> str | None:
        """Rows, if a CRF sums the loss over their characters."""
        return "rows" if self.crf is not None else None

    def add_head(self) -> None:
        width, places = self.config.hidden_size, self.config.max_token_characters
        self.places_from_start = nn.Embedding(places, width)
        self.places_from_end = nn.Embedding(places, width)
        # Without a layer that mixes them, a position could only shift a token's scores: "the second
        # half of this token is a particle" could not be expressed.
        self.dense = nn.Linear(width, width)
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.classifier = nn.Linear(width, self.num_labels)
        self.crf = CRF(self.num_labels) if self.config.character_crf else None

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        character_token_idx: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Logits [B, K, C] for each character, or with a CRF the best tag ids as nested lists.

        Args:
            character_token_idx: [B, K], the token of each character; -1 is padding. A space, or a
                character that normalisation removed, has the token of its left neighbour.
            labels: [B, K]; -100 is ignored.
        """
        if character_token_idx is None:
            raise ValueError("character_token_idx [B, K] is required: the token of each character")
        hidden, _, output = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            token_type_ids=token_type_ids,
            **kwargs,
        )
        hidden = vectors_at(hidden, character_token_idx)
        start, end = places_in_token(character_token_idx, self.config.max_token_characters)
        hidden = hidden + self.places_from_start(start) + self.places_from_end(end)
        hidden = self.dropout(functional.gelu(self.dense(self.dropout(hidden))))
        logits = self.classifier(hidden)
        mask = character_token_idx >= 0
        if self.crf is not None:
            loss, logits = _crf_results(self, self.crf, logits, labels, mask)
        else:
            labels = None if labels is None else labels.masked_fill(~mask, IGNORED)
            loss = None if labels is None else mean_cross_entropy(logits, labels)
        return TokenClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )


def places_in_token(character_token_idx: Tensor, num_places: int) -> tuple[Tensor, Tensor]:
    """Each character's position in its token, [B, K], counted from the start and from the end.

    >>> places_in_token(torch.tensor([[0, 0, 0, 1, -1]]), 2)
    (tensor([[0, 1, 1, 0, 0]]), tensor([[1, 1, 0, 0, 0]]))
    """
    padding = character_token_idx < 0
    backwards = character_token_idx.flip(1)
    start, end = (
        places.clamp(max=num_places - 1).masked_fill(padding, 0)
        for places in (_places_in_run(character_token_idx), _places_in_run(backwards).flip(1))
    )
    return start, end


def _places_in_run(index: Tensor) -> Tensor:
    """[B, K]: the number of equal elements directly before each."""
    order = torch.arange(index.size(1), device=index.device)
    begins = functional.pad(index[:, 1:] != index[:, :-1], (1, 0), value=True)
    return order - (begins * order).cummax(1).values


@dataclass
class DependencyParserOutput(ModelOutput):
    """A parse of each row.

    Args:
        loss: sum of the mean cross-entropies of heads and of relations.
        head_logits: [B, W, W + 1], the head of each word; 0 is the root, j the j-th word.
        relation_logits: [B, W, C], the relation to the predicted head.
    """

    loss: Tensor | None = None
    head_logits: Tensor | None = None
    relation_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class DependencyHead(Head):
    """A biaffine parser on each word's first and last token: `root` and `head_*`, `relation_*`."""

    def add_head(self) -> None:
        width = 2 * self.config.hidden_size
        heads, relations = self.config.head_width, self.config.relation_width
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.root = nn.Embedding(1, width)
        self.head_of = nn.Linear(width, heads)
        self.head_as = nn.Linear(width, heads)
        # With its bias, one layer has both terms of a biaffine score: (U x + b) . y
        self.head_product = nn.Linear(heads, heads)
        self.relation_of = nn.Linear(width, relations)
        self.relation_as = nn.Linear(width, relations)
        self.relation_product = nn.Linear(relations, relations * self.num_labels)
        self.classifier = nn.Linear(2 * relations, self.num_labels)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        word_token_idx: Tensor | None = None,
        relation_labels: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> DependencyParserOutput:
        """Scores of heads and relations for each word.

        Args:
            word_token_idx: [B, W, 2], first and last (inclusive) token of each word; -1 is padding.
            labels: [B, W], gold heads (0 root, j the j-th word); -100 is ignored.
            relation_labels: [B, W], ids; -100 is ignored.
        """
        if word_token_idx is None:
            raise ValueError(
                "word_token_idx [B, W, 2] is required: first and last token of each word"
            )
        hidden, _, output = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            token_type_ids=token_type_ids,
            **kwargs,
        )
        words, candidates = self._words(hidden, word_token_idx)
        head_logits = self._head_logits(words, candidates, word_token_idx[..., 0] >= 0)
        loss = None
        if labels is not None:
            loss = mean_cross_entropy(head_logits, labels)
            if relation_labels is not None:
                gold = self._relation_logits(words, candidates, labels.clamp(min=0))
                loss = loss + mean_cross_entropy(gold, relation_labels)
        return DependencyParserOutput(
            loss=loss,
            head_logits=head_logits,
            relation_logits=self._relation_logits(words, candidates, head_logits.argmax(-1)),
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def _words(self, hidden: Tensor, word_token_idx: Tensor) -> tuple[Tensor, Tensor]:
        """Words [B, W, 2 D] by their first and last token, and the same with the root in front."""
        ends = [vectors_at(hidden, word_token_idx[..., which]) for which in (0, 1)]
        words = self.dropout(torch.cat(ends, dim=-1))
        root = self.root.weight.expand(words.size(0), 1, -1)
        return words, torch.cat([root.to(words.dtype), words], dim=1)

    def _head_logits(self, words: Tensor, candidates: Tensor, is_word: Tensor) -> Tensor:
        """[B, W, W + 1], with padding and the word itself excluded."""
        of = self.head_product(functional.gelu(self.head_of(words)))
        heads = functional.gelu(self.head_as(candidates))
        logits = exact(torch.bmm(of, heads.transpose(1, 2))) / heads.size(-1) ** 0.5
        num_words = words.size(1)
        itself = torch.eye(num_words, dtype=torch.bool, device=words.device)
        excluded = functional.pad(itself | ~is_word.unsqueeze(1), (1, 0), value=False)
        return logits.masked_fill(excluded, torch.finfo(logits.dtype).min)

    def _relation_logits(self, words: Tensor, candidates: Tensor, heads: Tensor) -> Tensor:
        """[B, W, C]: the relation of each word to the given head [B, W]."""
        of = functional.gelu(self.relation_of(words))
        to = functional.gelu(self.relation_as(vectors_at(candidates, heads)))
        product = self.relation_product(of).unflatten(-1, (self.num_labels, -1))
        bilinear = (product * to.unsqueeze(-2)).sum(-1) / to.size(-1) ** 0.5
        return exact(bilinear + self.classifier(torch.cat([of, to], dim=-1)))
