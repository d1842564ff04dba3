"""Faster greedy and beam search for encoder-decoders, with the results of transformers.

`generate` prepares everything and calls these in place of its own loops (`custom_generate`). They
drop finished rows from the batch, find the best tokens of a large vocabulary without copying all
scores, and do not keep the scores of the steps. The results equal those of its loops except for
rounding: a matrix product of fewer rows may differ in the last digit.

torch and transformers are imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Finished rows are dropped together, once at most this share is left: dropping copies the cache.
SHARE_LEFT = 0.75
BLOCK = 64  # tokens of the vocabulary whose maximum is found first
NEVER = -1e9  # transformers' score of a token that must not be chosen
# exp() of less is denormal: it cannot change a sum of at least 1, and takes MKL ten times as long
# on an AMD CPU.
LEAST = -87.0
# Processors that treat each sequence by itself, so that rows may be dropped.
PROCESSORS = (
    "ForcedBOSTokenLogitsProcessor", "ForcedEOSTokenLogitsProcessor",
    "MinLengthLogitsProcessor", "MinNewTokensLengthLogitsProcessor", "NoBadWordsLogitsProcessor",
    "NoRepeatNGramLogitsProcessor", "RepetitionPenaltyLogitsProcessor",
    "SuppressTokensAtBeginLogitsProcessor", "SuppressTokensLogitsProcessor",
)  # fmt: skip
CRITERIA = ("MaxLengthCriteria", "EosTokenCriteria")
INPUTS = ("attention_mask", "encoder_outputs", "past_key_values", "use_cache", "cache_position")


def search(
    model: Any, input_ids: torch.Tensor, logits_processor: Any, stopping_criteria: Any,
    generation_config: Any, **inputs: Any,
) -> Any:  # fmt: skip
    """The search that `generate` calls; returns an object with `sequences`, `sequences_scores`."""
    has_beams = generation_config.num_beams > 1
    if not _is_plain(logits_processor, stopping_criteria, generation_config, inputs):
        own = type(model)._beam_search if has_beams else type(model)._sample
        if has_beams:
            generation_config.output_scores = True
            stopping_criteria.append(free_step_scores)
        return own(
            model, input_ids, logits_processor, stopping_criteria, generation_config, **inputs
        )
    decoder = _Decoder(model, input_ids, inputs, logits_processor)
    find = _beams if has_beams else _greedy
    return find(decoder, input_ids, generation_config)


def _is_plain(processors: Any, criteria: Any, config: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether the searches below support all of these settings."""
    others = {type(one).__name__ for one in processors} - {*PROCESSORS}
    others |= {type(one).__name__ for one in criteria} - {*CRITERIA}
    given = {name for name, value in inputs.items() if value is not None and value is not False}
    return not (config.do_sample or others or given - {*INPUTS})


def free_step_scores(input_ids: torch.Tensor, scores: tuple | None, **_: Any) -> torch.Tensor:
    """A stopping criterion that never stops, but frees the step's scores over the vocabulary.

    transformers returns the scores of sequences only with those of every step, which are gigabytes.
    """
    import torch

    for step in (scores or ())[-1:]:
        step.set_()
    return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class _Decoder:
    """A model with its cache for the sequences of a batch; computes scores of the next token."""

    def __init__(
        self, model: Any, input_ids: torch.Tensor, inputs: Mapping[str, Any], processors: Any
    ) -> None:
        self.model, self.processors = model, processors
        self.mask: torch.Tensor | None = inputs.get("attention_mask")
        self.encoded: Any = inputs["encoder_outputs"]
        self.cache: Any = inputs["past_key_values"]
        self._is_first = True

    def scores(self, sequences: torch.Tensor) -> torch.Tensor:
        """The logits [S, V] after the sequences [S, length] in fp32; callers may overwrite them."""
        import torch

        tokens = sequences if self._is_first else sequences[:, -1:]
        self._is_first = False
        output = self.model(
            decoder_input_ids=tokens, attention_mask=self.mask, encoder_outputs=self.encoded,
            past_key_values=self.cache, use_cache=True, return_dict=True,
        )  # fmt: skip
        self.cache = output.past_key_values
        return output.logits[:, -1].to(torch.float32)

    def reorder(self, sequences: torch.Tensor) -> None:
        """Continues with these sequences, each from the same row as the one that it replaces."""
        self.cache.self_attention_cache.reorder_cache(sequences)

    def keep(self, sequences: torch.Tensor) -> None:
        """Continues with these sequences only."""
        self.cache.self_attention_cache.reorder_cache(sequences)
        self.cache.cross_attention_cache.reorder_cache(sequences)
        self.mask = None if self.mask is None else self.mask.index_select(0, sequences)
        states = self.encoded.last_hidden_state.index_select(0, sequences)
        self.encoded = type(self.encoded)(last_hidden_state=states)


def _fill(config: Any) -> int:
    """The token that fills a sequence after its end."""
    pad, end = config._pad_token_tensor, config._eos_token_tensor
    return -1 if end is None else int(end[0] if pad is None else pad)


def _ended(tokens: torch.Tensor, config: Any) -> torch.Tensor:
    """Which of the tokens end a sequence."""
    import torch

    end = config._eos_token_tensor
    if end is None:
        return torch.zeros_like(tokens, dtype=torch.bool)
    return torch.isin(tokens, end)


def _should_drop(num_open: int, num_rows: int) -> bool:
    """Whether to drop the finished rows now."""
    return 0 < num_open <= SHARE_LEFT * num_rows


def _greedy(decoder: _Decoder, input_ids: torch.Tensor, config: Any) -> Any:
    """The sequences [B, T] of the most probable token at each step."""
    import torch

    length, fill = input_ids.shape[1], _fill(config)
    found = input_ids.new_full((len(input_ids), config.max_length), fill)
    found[:, :length] = input_ids
    rows = torch.arange(len(input_ids), device=input_ids.device)
    is_open = torch.ones_like(rows, dtype=torch.bool)
    sequences = input_ids
    while length < config.max_length:
        scores = decoder.processors(sequences, decoder.scores(sequences))
        tokens = torch.where(is_open, scores.argmax(-1), fill)
        found[rows, length] = tokens
        length += 1
        is_open &= ~_ended(tokens, config)
        num_open = int(is_open.sum())
        if num_open == 0:
            break
        if _should_drop(num_open, len(rows)):
            left = is_open.nonzero()[:, 0]
            decoder.keep(left)
            rows, is_open = rows[left], is_open[left]
        sequences = found[rows, :length]
    return SimpleNamespace(sequences=found[:, :length], sequences_scores=None)


class _Beams:
    """The state of a beam search: `sequences` [B, K, T] are open, `ended` are finished.

    Attributes:
        rows: [B] indices of the rows in the batch.
        can_improve: [B] whether an open sequence may still beat a finished one.
    """

    PER_ROW = ("rows", "sequences", "scores", "ended", "ended_scores", "has_ended", "can_improve")

    def __init__(self, first: torch.Tensor, config: Any) -> None:
        import torch

        width = config.num_beams
        size = len(first) // width
        self.config, self.start = config, first.shape[1]
        self.length = self.start
        self.sequences = first.new_full((size, width, config.max_length), _fill(config))
        self.sequences[:, :, : self.start] = first.view(size, width, -1)
        self.ended = self.sequences.clone()
        self.scores = torch.zeros((size, width), device=first.device)
        self.scores[:, 1:] = NEVER  # all beams begin alike
        self.ended_scores = torch.full_like(self.scores, NEVER)
        self.has_ended = torch.zeros_like(self.scores, dtype=torch.bool)
        self.rows = torch.arange(size, device=first.device)
        self.can_improve = torch.ones_like(self.rows, dtype=torch.bool)
        end = config._eos_token_tensor
        self.num_candidates = max(2, 1 + (0 if end is None else len(end))) * width

    @property
    def is_open(self) -> torch.Tensor:
        """[B] whether a row is unfinished."""
        if self.config.early_stopping is True:
            return self.can_improve & ~self.has_ended.all(1)
        return self.can_improve

    def advance(self, scores: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Adds a token to each sequence, given the best tokens [B x K, C] after each and their
        log-probabilities; returns the indices [B x K] of the sequences that were extended."""
        import torch

        size, width = self.scores.shape
        total = scores.view(size, width, -1) + self.scores[:, :, None]
        total, places = total.view(size, -1).topk(self.num_candidates)
        beams = places // scores.shape[1]
        tokens = tokens.view(size, -1).gather(1, places)
        sequences = _taken(self.sequences, beams)
        sequences[:, :, self.length] = tokens
        ends = _ended(tokens, self.config)
        if self.length + 1 >= self.config.max_length:
            ends = torch.ones_like(ends)
        self._finish(sequences, total, ends)
        self.scores, places = (total + ends * NEVER).topk(width)
        self.sequences = _taken(sequences, places)
        self.length += 1
        self._look_ahead()
        first = torch.arange(size, device=tokens.device)[:, None] * width
        return (beams.gather(1, places) + first).view(-1)

    def _finish(self, sequences: torch.Tensor, total: torch.Tensor, ends: torch.Tensor) -> None:
        """Keeps sequences that have just ended if they are better than earlier ones."""
        import torch

        width = self.scores.shape[1]
        ends = ends & self.is_open[:, None]
        ends[:, width:] = False
        total = total / (self.length + 1 - self.start) ** self.config.length_penalty
        scores = torch.cat((self.ended_scores, total + ~ends * NEVER), 1)
        self.ended_scores, places = scores.topk(width)
        self.ended = _taken(torch.cat((self.ended, sequences), 1), places)
        self.has_ended = torch.cat((self.has_ended, ends), 1).gather(1, places)

    def _look_ahead(self) -> None:
        import torch

        config, length = self.config, self.length - self.start
        if config.early_stopping == "never" and config.length_penalty > 0.0:
            length = config.max_length - self.start
        best = self.scores[:, :1] / length**config.length_penalty
        worst = torch.where(self.has_ended, self.ended_scores.amin(1, keepdim=True), NEVER)
        self.can_improve &= (best > worst).any(1)

    def keep(self, rows: torch.Tensor) -> None:
        """Continues with these rows only."""
        for name in self.PER_ROW:
            setattr(self, name, getattr(self, name).index_select(0, rows))


def _taken(sequences: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The sequences [B, C, T] at the places [B, C] of the second dimension of [B, K, T]."""
    return sequences.gather(1, places[:, :, None].expand(-1, -1, sequences.shape[2]))


def _beams(decoder: _Decoder, input_ids: torch.Tensor, config: Any) -> Any:
    """The most probable sequences [B x num_return_sequences, T] and their scores."""
    state = _Beams(input_ids, config)
    found, scores = state.ended.clone(), state.ended_scores.clone()
    flat = input_ids
    while True:
        likeliest = _likeliest(decoder.scores(flat), flat, state.num_candidates, decoder.processors)
        order = state.advance(*likeliest)
        is_open = state.is_open
        num_open = int(is_open.sum())
        if num_open == 0 or state.length >= config.max_length:
            break
        if _should_drop(num_open, len(is_open)):
            found[state.rows], scores[state.rows] = state.ended, state.ended_scores
            left = is_open.nonzero()[:, 0]
            decoder.keep(order.view(len(is_open), -1)[left].view(-1))
            state.keep(left)
        else:
            decoder.reorder(order)
        flat = state.sequences[:, :, : state.length].flatten(0, 1)
    found[state.rows], scores[state.rows] = state.ended, state.ended_scores
    number = config.num_return_sequences
    sequences = found[:, :number, : state.length].flatten(0, 1)
    return SimpleNamespace(sequences=sequences, sequences_scores=scores[:, :number].flatten())


def _likeliest(
    scores: torch.Tensor, sequences: torch.Tensor, number: int, processors: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probabilities [S, number] of the best tokens after each sequence, and the tokens."""
    import torch

    if len(processors):
        scores = processors(sequences, scores.log_softmax(-1))
        return _top(scores, number)
    best, tokens = _top(scores, number)
    highest = best[:, :1]
    total = scores.sub_(highest).clamp_(min=LEAST).exp_().sum(-1, keepdim=True)
    return best - highest - torch.log(total), tokens


def _top(scores: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`scores.topk(number)`; on a CPU only within the blocks with the highest maxima."""
    import torch

    num_blocks = scores.shape[1] // BLOCK
    if scores.device.type != "cpu" or num_blocks <= number:
        found = scores.topk(number)
        return found.values, found.indices
    size, end = len(scores), num_blocks * BLOCK
    peaks = scores[:, :end].view(size, num_blocks, BLOCK).amax(-1)
    blocks = peaks.topk(number, sorted=False).indices.sort(-1).values
    places = (blocks[:, :, None] * BLOCK + torch.arange(BLOCK)).flatten(1)
    rest = torch.arange(end, scores.shape[1]).expand(size, -1)
    places = torch.cat((places, rest), 1)
    best = scores.gather(1, places).topk(number)
    return best.values, places.gather(1, best.indices)
