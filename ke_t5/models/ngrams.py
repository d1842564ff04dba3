"""A small classifier for training from scratch: hashed n-grams of characters, and convolutions.

Every n-gram of the input ids is hashed to a row of a table. A text is classified by the bag of its
n-grams, and by convolutions over the n-grams that start at each position. A few such readers, which
differ in hash function and initialization, vote. `ke_t5.models.characters` writes folders to start
from.

Shape letters: B rows, S ids of a text, N lengths of n-grams, D width, H attention heads, C classes.
"""

from __future__ import annotations

import functools
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from ke_t5.errors import UserError
from ke_t5.forms import IGNORED
from ke_t5.models.heads import exact, sequence_loss


class HashedNgramConfig(PreTrainedConfig):
    """Configuration of HashedNgramForSequenceClassification.

    Args:
        vocab_size: number of the tokenizer's ids; no table has that size, because ids are hashed.
        space_token_id: the word separator: an n-gram has it at its ends only, and `word_dropout`
            drops the n-grams that start between two. None: n-grams cross words, and no words are
            dropped.
        max_ngram: length of the longest n-grams, in ids.
        num_buckets: number of rows of a reader's table.
        num_readers: number of readers; their logits are averaged, each is trained on its own loss.
        embedding_dropout: dropout of the convolutions' input.
        ngram_dropout: share of the n-grams that a training step drops.
        word_dropout: share of the words that a training step drops.
        class_weights: factors on the losses of the rows of each class; None: all 1.
    """

    model_type = "ke_t5_hashed_ngram"

    vocab_size: int = 0
    space_token_id: int | None = None
    max_ngram: int = 3
    num_buckets: int = 32768
    num_readers: int = 1
    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 4
    kernel_size: int = 5
    dropout_rate: float = 0.3
    embedding_dropout: float = 0.2
    ngram_dropout: float = 0.3
    word_dropout: float = 0.0
    class_weights: list[float] | None = None
    initializer_range: float = 0.02
    pad_token_id: int | None = 0


class GatedConvolution(nn.Module):
    """A pre-normalised residual convolution [B, S, D] -> [B, S, D] with a gated linear unit."""

    def __init__(self, config: HashedNgramConfig) -> None:
        super().__init__()
        width, kernel = config.hidden_size, config.kernel_size
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, 2 * width, kernel, padding=kernel // 2)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        inside = (self.norm(hidden) * mask).transpose(1, 2)
        changed = self.convolution(inside).transpose(1, 2)
        return hidden + self.dropout(functional.glu(changed, -1))


class NgramReader(nn.Module):
    """Logits [B, C] from the bag of n-grams, and from max, mean and attention pooling."""

    def __init__(self, config: HashedNgramConfig, seed: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.config, self.seed = config, seed
        self.table = nn.Embedding(config.num_buckets, width)
        self.norm, self.bag_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.layers = nn.ModuleList(GatedConvolution(config) for _ in range(config.num_layers))
        self.attention = nn.Linear(width, config.num_heads)
        self.dense = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.classifier = nn.Linear(width, cast(int, config.num_labels))

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        buckets, weights = self.ngrams(input_ids, mask)
        weights = self.drop(weights.to(self.table.weight.dtype), input_ids)
        hidden = (self.table(buckets) * weights[..., None]).sum(2)
        root = weights.sum((1, 2)).clamp(min=1).sqrt()
        bag = self.bag_norm(hidden.sum(1) / root[:, None])
        hidden = functional.dropout(self.norm(hidden), self.config.embedding_dropout, self.training)
        inside = mask[..., None].to(hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, inside)
        pooled = self.dropout(torch.cat([bag, self.pool(hidden, inside)], -1))
        return self.classifier(self.dropout(functional.relu(self.dense(pooled))))

    def ngrams(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Buckets [B, S, N] of the n-grams that start at each position, and which of them exist."""
        size, length = self.config.max_ngram, input_ids.size(1)
        ids, inside = (functional.pad(tensor, (0, size)) for tensor in (input_ids, mask))
        space_id = self.config.space_token_id
        space = torch.zeros_like(inside) if space_id is None else ids == space_id
        key = torch.full_like(input_ids, self.seed)
        whole = torch.ones_like(mask)
        buckets, exist = [], []
        for n in range(size):
            # Products wrap around at 64 bits, equally on every device.
            key = key * 1000003 + ids[:, n : n + length] + 7
            mixed = ((key ^ (key >> 17)) * 2654435761 + n) & (2**47 - 1)
            buckets.append((mixed ^ (mixed >> 21)) % self.config.num_buckets)
            if n >= 2:
                whole = whole & ~space[:, n - 1 : n - 1 + length]
            here = whole & inside[:, n : n + length]
            exist.append(here & ~space[:, :length] if n == 0 else here)
        return torch.stack(buckets, -1), torch.stack(exist, -1)

    def drop(self, weights: Tensor, input_ids: Tensor) -> Tensor:
        """The weights [B, S, N] of the n-grams, after dropout of words and n-grams in training."""
        if not self.training:
            return weights
        config, last = self.config, input_ids.size(1) - 1
        if config.word_dropout and config.space_token_id is not None:
            is_kept = torch.rand(input_ids.shape, device=input_ids.device) >= config.word_dropout
            words = (input_ids == config.space_token_id).cumsum(1).clamp(max=last)
            weights = weights * is_kept.to(weights.dtype).gather(1, words)[..., None]
        return functional.dropout(weights, config.ngram_dropout)

    def pool(self, hidden: Tensor, inside: Tensor) -> Tensor:
        """[B, 3 D]: the maximum, the mean, and the H attention heads over positions [B, S, D]."""
        outside = inside == 0
        largest = hidden.masked_fill(outside, torch.finfo(hidden.dtype).min).amax(1)
        largest = largest.masked_fill(outside.all(1), 0)
        mean = (hidden * inside).sum(1) / inside.sum(1).clamp(min=1)
        scores = exact(self.attention(hidden)).masked_fill(outside, -1e9)
        shares = scores.softmax(1).to(hidden.dtype)[..., None]
        attended = (shares * hidden.unflatten(-1, (self.config.num_heads, -1))).sum(1)
        return torch.cat([largest, mean, attended.flatten(1)], -1)


def _check(config: HashedNgramConfig) -> None:
    """Raises UserError for invalid or inconsistent values."""
    weights = config.class_weights
    if weights is not None:
        where = "class_weights"
        if not all(isinstance(one, int | float) and 0 <= one < math.inf for one in weights):
            raise UserError(f"is {weights!r:.60}", where, "give a list of numbers, 0 or more")
        if len(weights) != config.num_labels:
            what = f"{len(weights)} numbers for {config.num_labels} classes"
            raise UserError(what, where, "give one per class, in their ids' order")
    if config.kernel_size % 2 == 0:
        raise UserError(f"is {config.kernel_size}", "kernel_size", "give an odd number")
    if config.hidden_size % config.num_heads:
        what = f"is {config.num_heads}, which does not divide hidden_size {config.hidden_size}"
        raise UserError(what, "num_heads", "give a divisor of hidden_size")


@functools.lru_cache(maxsize=8)
def class_factors(weights: tuple[float, ...], device: torch.device) -> Tensor:
    """[C]: `class_weights` on a device. Cached, because a copy to a GPU waits for it, and not in
    the model, whose attributes are restored before each step; do not modify it."""
    with torch.inference_mode(False):  # those cached during evaluation must serve training, too
        return torch.tensor(weights, dtype=torch.float32, device=device)


class HashedNgramForSequenceClassification(PreTrainedModel):
    """A class, or a number, for a text, by a vote of readers of hashed n-grams."""

    config_class = HashedNgramConfig

    def __init__(self, config: HashedNgramConfig) -> None:
        super().__init__(config)
        _check(config)
        self.readers = nn.ModuleList(NgramReader(config, i) for i in range(config.num_readers))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The first reader's table."""
        return cast(NgramReader, self.readers[0]).table

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        token_type_ids: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits [B, C] for each text; labels are [B] ids or numbers, or [B, C] zeros and ones.

        `token_type_ids`, which a pipeline's tokenizer may return, are ignored.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        votes = [reader(input_ids, mask.bool()) for reader in self.readers]
        loss = None
        if labels is not None:
            loss = torch.stack([self.loss_of(vote, labels) for vote in votes]).mean()
        return SequenceClassifierOutput(loss=loss, logits=torch.stack(votes).mean(0))

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of [B, C] logits: a mean over rows, regardless of their class weights."""
        weights = self.config.class_weights
        if weights is None:
            return sequence_loss(logits, labels, self.config.problem_type)
        if self.config.problem_type not in (None, "single_label_classification"):
            what = f"is set for a task of {self.config.problem_type.replace('_', ' ')}"
            raise UserError(what, "class_weights", "drop it: weights need one class per text")
        factors = class_factors(tuple(weights), logits.device)
        total = functional.cross_entropy(logits.float(), labels, factors, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear | nn.Conv1d):
            init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
