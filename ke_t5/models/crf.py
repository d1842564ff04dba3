"""A linear-chain conditional random field with an analytic gradient.

    score(y) = start[y1] + sum_t emissions[t, y_t] + sum_t transitions[y_{t-1}, y_t] + end[y_L]

Autograd would keep a [B, T, T] tensor for each of L steps. One forward and one backward sweep
give log Z and the marginals, which are its gradient, from three [L, B, T] tensors.

Shape letters: B sentences, L positions, T tags.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ke_t5.products import small_products

# An unknown tag; any negative value means the same.
UNKNOWN = -100
# From this many tags on, Viterbi stores no back-pointers: recomputing one argmax is cheaper.
VALUES_ONLY_TAGS = 64
# Viterbi first tries this many of the best tags; others rarely matter.
BEST_TAGS = 16


class CRF(nn.Module):
    """A CRF layer with the parameter names of pytorch-crf, so that its weights load.

    Args:
        num_tags: T.
    """

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.num_tags = num_tags
        self.start_transitions = nn.Parameter(torch.empty(num_tags))
        self.end_transitions = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(
        self, emissions: Tensor, tags: Tensor, mask: Tensor, forbidden: Tensor | None = None
    ) -> Tensor:
        """Negative log-likelihood of each sentence, [B], in float32 or the emissions' float64.

        Args:
            emissions: [B, L, T] scores.
            tags: [B, L] tag ids; a negative one inside the mask is unknown and summed over.
            mask: [B, L] booleans; positions outside it are removed from the chain.
            forbidden: [T + 1, T] booleans, or None: whether tag j may not follow tag i; the last
                row is the start. A known tag that may not follow the previous one counts as
                unknown.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            emissions, tags, lengths = _packed(emissions, tags, mask)
            if forbidden is not None:
                tags = _possible(tags, forbidden)
            if _has_queue(emissions):
                return self._loss_without_waiting(emissions, tags, lengths, forbidden)
            is_known = not bool(((tags < 0) & _inside(lengths, tags.size(1))).any())
            scores = self._scores(emissions.dtype, forbidden)
            log_z = LogPartition.apply(emissions, *scores, lengths)
            if is_known:
                return log_z - path_score(emissions, scores, tags.clamp(min=0), lengths)
            return log_z - LogPartition.apply(_observed(emissions, tags), *scores, lengths)

    def _loss_without_waiting(
        self, emissions: Tensor, tags: Tensor, lengths: Tensor, forbidden: Tensor | None
    ) -> Tensor:
        """The same without reading a value from the device, which would wait for it.

        Every batch has unknown tags (special tokens), so one sweep computes both sums, over twice
        the rows. In float64, `_sweeps` is exact for scores less than 600 apart.
        """
        wide = emissions.double()
        both = torch.cat([wide, _observed(wide, tags)])
        scores = self._scores(wide.dtype, forbidden)
        log_z, gold = LogPartition.apply(both, *scores, lengths.repeat(2)).chunk(2)
        return (log_z - gold).to(emissions.dtype)

    @torch.no_grad()
    def decode(
        self, emissions: Tensor, mask: Tensor, forbidden: Tensor | None = None
    ) -> list[list[int]]:
        """The best tag ids of each sentence, one for each unmasked position."""
        emissions, _, lengths = _packed(emissions, None, mask)
        best = viterbi(emissions, *self._scores(emissions.dtype, forbidden), lengths).tolist()
        return [row[:length] for row, length in zip(best, lengths.tolist(), strict=True)]

    def _scores(
        self, dtype: torch.dtype, forbidden: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        start, transitions = self.start_transitions.to(dtype), self.transitions.to(dtype)
        if forbidden is not None:
            start = start.masked_fill(forbidden[-1], -torch.inf)
            transitions = transitions.masked_fill(forbidden[:-1], -torch.inf)
        return start, self.end_transitions.to(dtype), transitions


def _has_queue(tensor: Tensor) -> bool:
    """Whether values are computed asynchronously, so that reading one waits."""
    return tensor.device.type != "cpu"


def _observed(emissions: Tensor, tags: Tensor) -> Tensor:
    """The emissions; where the tag is known, -inf for all others."""
    gold = nn.functional.one_hot(tags.clamp(min=0), emissions.size(-1)).bool()
    return emissions.masked_fill(~(gold | (tags < 0).unsqueeze(-1)), -torch.inf)


class LogPartition(torch.autograd.Function):
    """log Z of each sentence, [B]; its gradient: the marginals of tags and of tag pairs."""

    @staticmethod
    @small_products()
    def forward(
        ctx: Any,
        emissions: Tensor,
        start: Tensor,
        end: Tensor,
        transitions: Tensor,
        lengths: Tensor,
    ) -> Tensor:
        all_rows = emissions.dtype if _has_queue(emissions) else None
        rows = _Rows(lengths, emissions.size(1), all_rows=all_rows)
        scores = rows.scores(emissions, start, end)
        log_z, *kept, exact = _sweeps(scores, transitions, rows)
        ctx.in_log_space = not exact
        if ctx.in_log_space:
            log_z, *kept = _log_sweeps(scores, transitions, rows)
        ctx.save_for_backward(*kept, transitions)
        ctx.rows = rows
        return torch.empty_like(log_z).index_copy_(0, rows.order, log_z)

    @staticmethod
    @once_differentiable
    @small_products()
    def backward(ctx: Any, grad: Tensor) -> tuple:
        alpha, following, marginals, transitions = ctx.saved_tensors
        rows: _Rows = ctx.rows
        weight = grad[rows.order].view(1, -1, 1)
        marginals = marginals * weight
        sums = _log_pair_sums if ctx.in_log_space else _pair_sums
        # The gradient of `end`: the marginals at each sentence's last position.
        last = rows.last.view(1, -1, 1).expand(1, -1, marginals.size(2))
        ends = (marginals.gather(0, last) * (rows.lengths > 0).view(1, -1, 1)).sum((0, 1))
        with torch.autocast(grad.device.type, enabled=False):
            pairs = sums(alpha, following, transitions, weight)
        emissions = torch.empty_like(marginals.transpose(0, 1))
        emissions.index_copy_(0, rows.order, marginals.transpose(0, 1))
        return emissions, marginals[0].sum(0), ends, pairs, None


class _Rows:
    """Sentences sorted by length, longest first: step t runs on the first `counts[t]` of them.

    With `all_rows` the counts are not read from the device: each step runs on all sentences, and
    `outside`, [L, B, 1], is 1 after a sentence's end and 0 before.
    """

    def __init__(
        self, lengths: Tensor, num_steps: int, *, all_rows: torch.dtype | None = None
    ) -> None:
        self.lengths, self.order = lengths.sort(descending=True, stable=True)
        self.last = (self.lengths - 1).clamp(min=0)
        self.inside = _inside(self.lengths, num_steps).T.unsqueeze(-1)
        self.outside = None if all_rows is None else (~self.inside).to(all_rows)
        self.counts: list[int] = (
            self.inside.sum((1, 2)).tolist() if all_rows is None else [len(lengths)] * num_steps
        )

    def scores(self, emissions: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """[L, B, T]: the emissions, with start and end added at the ends of sentences."""
        scores = emissions.detach()[self.order].transpose(0, 1).contiguous()
        scores[0] += start
        scores[self.last, torch.arange(len(self.last), device=self.last.device)] += end
        return scores


def _sweeps(scores: Tensor, transitions: Tensor, rows: _Rows) -> tuple:
    """The forward and backward sweep over probabilities, normalised at each step.

    Returns:
        log_z: [B].
        alpha: [L, B, T], probability of the tag given the scores up to t.
        following: [L, B, T]; multiplied by P[i, :], it gives beta one step earlier.
        marginals: [L, B, T], 0 outside the sentences.
        exact: whether no value that underflowed to zero could have mattered.
    """
    high = scores.amax(-1, keepdim=True)
    following = (scores - high).exp_().mul_(rows.inside)
    shift = transitions.max()
    step = (transitions - shift).exp()
    alpha, norms = torch.zeros_like(scores), torch.ones_like(high)
    for t, count in enumerate(rows.counts):
        weights = following[t, :count]
        mass = weights if t == 0 else torch.mm(alpha[t - 1, :count], step).mul_(weights)
        norm = torch.sum(mass, -1, keepdim=True, out=norms[t, :count])
        if rows.outside is not None:
            norm += rows.outside[t]
        torch.div(mass, norm, out=alpha[t, :count])
    following.div_(norms)
    beta, back = torch.ones_like(scores), step.T.contiguous()
    for t in range(len(rows.counts) - 1, 0, -1):
        count = rows.counts[t]
        torch.mm(following[t, :count].mul_(beta[t, :count]), back, out=beta[t - 1, :count])
        if rows.outside is not None:
            beta[t - 1] += rows.outside[t]
    terms = (norms.log() + high).masked_fill(~rows.inside, 0).sum((0, 2))
    log_z = terms + shift * rows.last
    # Alpha's loss by underflow at t is below tiny / norm, and contributes at most beta times that.
    limits = torch.finfo(scores.dtype)
    lost = (beta.amax(-1, keepdim=True) / norms).masked_fill(~rows.inside, 0).amax()
    bound = 0.1 * limits.eps / (limits.tiny * scores.size(0) * scores.size(2))
    is_exact = rows.outside is not None or bool(lost < bound)
    return log_z, alpha, following, alpha * beta, is_exact


def _log_sweeps(scores: Tensor, transitions: Tensor, rows: _Rows) -> tuple[Tensor, ...]:
    """The same four, all but the marginals in log space, for scores too far apart for `_sweeps`."""
    alpha = torch.full_like(scores, -torch.inf)
    for t, count in enumerate(rows.counts):
        alpha[t, :count] = scores[t, :count]
        if t:
            earlier = alpha[t - 1, :count].unsqueeze(-1) + transitions
            alpha[t, :count] += earlier.logsumexp(1)
    last = rows.last.view(1, -1, 1).expand(1, -1, scores.size(2))
    log_z = alpha.gather(0, last).squeeze(0).logsumexp(-1).masked_fill(rows.lengths == 0, 0)
    beta = torch.zeros_like(scores)
    following = torch.full_like(scores, -torch.inf)
    for t in range(len(rows.counts) - 1, 0, -1):
        count = rows.counts[t]
        following[t, :count] = scores[t, :count] + beta[t, :count]
        beta[t - 1, :count] = (following[t, :count].unsqueeze(1) + transitions).logsumexp(-1)
    following -= log_z.view(1, -1, 1)
    marginals = (alpha + beta - log_z.view(1, -1, 1)).exp()
    return log_z, alpha, following, marginals


def _pair_sums(alpha: Tensor, following: Tensor, transitions: Tensor, weight: Tensor) -> Tensor:
    """[T, T]: expected count of each pair of adjacent tags, weighted by sentence."""
    earlier = (alpha[:-1] * weight).flatten(0, 1)
    return (earlier.T @ following[1:].flatten(0, 1)) * (transitions - transitions.max()).exp()


def _log_pair_sums(alpha: Tensor, following: Tensor, transitions: Tensor, weight: Tensor) -> Tensor:
    """The same from the results of `_log_sweeps`, one step at a time."""
    sums = torch.zeros_like(transitions)
    for earlier, later in zip(alpha[:-1], following[1:], strict=True):
        pairs = (earlier.unsqueeze(-1) + transitions + later.unsqueeze(1)).exp()
        sums += (pairs * weight.view(-1, 1, 1)).sum(0)
    return sums


def path_score(
    emissions: Tensor, scores: tuple[Tensor, ...], tags: Tensor, lengths: Tensor
) -> Tensor:
    """[B]: the score of the tags [B, L]; `scores` are (start, end, transitions)."""
    start, end, transitions = scores
    inside = _inside(lengths, tags.size(1))
    at_tags = emissions.gather(-1, tags.unsqueeze(-1)).squeeze(-1)
    between = transitions[tags[:, :-1], tags[:, 1:]]
    last = tags.gather(1, (lengths - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
    total = at_tags.masked_fill(~inside, 0).sum(1) + between.masked_fill(~inside[:, 1:], 0).sum(1)
    return total + (start[tags[:, 0]] + end[last]).masked_fill(lengths == 0, 0)


def viterbi(
    emissions: Tensor, start: Tensor, end: Tensor, transitions: Tensor, lengths: Tensor
) -> Tensor:
    """[B, L]: the tags of the best path, 0 outside the sentences."""
    rows = _Rows(lengths, emissions.size(1))
    best = rows.scores(emissions, start, end)
    into = transitions.T.contiguous()
    # A GPU finishes all tags before the host could know which rows need them.
    with_pointers = best.size(2) < VALUES_ONLY_TAGS or best.is_cuda
    pointers = torch.empty(
        best.shape if with_pointers else (0,), dtype=torch.long, device=best.device
    )
    values = torch.empty_like(best[0])
    highest = transitions.amax(0)
    for t, count in enumerate(rows.counts[1:], 1):
        if with_pointers:
            reached = best[t - 1, :count].unsqueeze(1) + into
            torch.max(reached, -1, out=(values[:count], pointers[t, :count]))
        else:
            values[:count] = _best_values(best[t - 1, :count], transitions, into, highest)
        best[t, :count] += values[:count]
    path = torch.zeros(best.shape[:2], dtype=torch.long, device=best.device)
    for t in range(len(rows.counts) - 1, -1, -1):
        going = rows.counts[t + 1] if t + 1 < len(rows.counts) else 0
        if rows.counts[t] > going:
            path[t, going : rows.counts[t]] = best[t, going : rows.counts[t]].argmax(-1)
        if going and with_pointers:
            chosen = path[t + 1, :going].unsqueeze(-1)
            path[t, :going] = pointers[t + 1, :going].gather(1, chosen).squeeze(-1)
        elif going:
            path[t, :going] = (best[t, :going] + into[path[t + 1, :going]]).argmax(-1)
    return torch.empty_like(path.T).index_copy_(0, rows.order, path.T)


def _best_values(best: Tensor, transitions: Tensor, into: Tensor, highest: Tensor) -> Tensor:
    """[B, T]: max over i of best[:, i] + transitions[i, :], exactly.

    Args:
        best: [B, T], scores of the best paths so far.
        into: [T, T], the transposed transitions.
        highest: [T], the highest transition into each tag.
    """
    num_best = min(BEST_TAGS, best.size(1) - 1)
    scores, tags = best.topk(num_best + 1)
    values = (scores[:, :num_best, None] + transitions[tags[:, :num_best]]).amax(1)
    # The other tags score at most the last of these: could one win with the highest transition?
    unsure = (scores[:, num_best:] + highest > values).any(1).nonzero().squeeze(1)
    for some in unsure.split(4):
        # Only a few rows at a time keep their [T, T] sums in the cache.
        values[some] = (best[some].unsqueeze(1) + into).amax(-1)
    return values


def _possible(tags: Tensor, forbidden: Tensor) -> Tensor:
    """The tags [B, L], unknown where they may not follow the previous one: an entity that starts
    inside a token leaves an I- after an O."""
    start = tags.new_full((tags.size(0), 1), len(forbidden) - 1)
    before = torch.cat([start, tags[:, :-1]], dim=1)
    breaks = forbidden[before.clamp(min=0), tags.clamp(min=0)]
    return tags.masked_fill(breaks & (before >= 0) & (tags >= 0), UNKNOWN)


def _inside(lengths: Tensor, num_steps: int) -> Tensor:
    return torch.arange(num_steps, device=lengths.device) < lengths.unsqueeze(-1)


def _packed(emissions: Tensor, tags: Any, mask: Tensor) -> tuple[Tensor, Any, Tensor]:
    """Emissions in float32 or float64, tags (or None), and lengths, with masked positions moved to
    the end."""
    if emissions.dtype in (torch.float16, torch.bfloat16):
        emissions = emissions.float()
    mask = mask.bool()
    lengths = mask.sum(1)
    if _has_queue(mask) or not torch.equal(mask, _inside(lengths, mask.size(1))):
        order = (~mask).int().argsort(dim=1, stable=True)
        emissions = emissions.gather(1, order.unsqueeze(-1).expand_as(emissions))
        tags = None if tags is None else tags.gather(1, order)
    return emissions, tags, lengths
