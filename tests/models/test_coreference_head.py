"""The coreference head against a reference implementation with loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.our_models import make_model
from torch.nn import functional

from ke_t5.errors import UserError
from ke_t5.models.coreference_heads import antecedent_loss
from ke_t5.pipe.model_outputs import mention_chains

NAMES = ("T5EncoderForCoreference", "EncoderForCoreference")


def batch_of(*documents, seed=0):
    """A batch from the sentence lengths of each window of each document; each window ends with a
    special token."""
    generator = torch.Generator().manual_seed(seed)
    num_windows = max(map(len, documents))
    size = max(sum(window) + 1 for document in documents for window in document)
    shape = (len(documents), num_windows, size)
    sentences = torch.full(shape, -1)
    lengths = torch.zeros(shape[:2], dtype=torch.long)
    number = 0
    for row, document in enumerate(documents):
        for place, window in enumerate(document):
            for start, length in zip(
                [sum(window[:i]) for i in range(len(window))], window, strict=True
            ):
                sentences[row, place, start : start + length] = number
                number += 1
            lengths[row, place] = sum(window) + 1
    mask = (torch.arange(size) < lengths.unsqueeze(-1)).long()
    mask[..., 0] = 1
    return {
        "input_ids": torch.randint(3, 40, shape, generator=generator) * mask,
        "attention_mask": mask,
        "sentence_ids": sentences,
        "window_lengths": lengths,
    }


def expected(model, hidden, batch):
    """(spans with their scores in order, antecedent scores) of one document, by loops."""
    width = model.config.mention_width
    scores = {}
    begin = 0
    for window, length in enumerate(batch["window_lengths"][0].tolist()):
        sentences = batch["sentence_ids"][0, window].tolist()
        for start in range(length):
            for end in range(start, length):
                if sentences[start] == sentences[end] >= 0:
                    s = functional.gelu(model.mention_start(hidden[window, start]))
                    e = functional.gelu(model.mention_end(hidden[window, end]))
                    score = model.mention_product(s) @ e / width**0.5 + model.mention_score(s)[0]
                    scores[begin + start, begin + end] = (float(score), window, start, end)
        begin += length
    num_tokens = int((batch["sentence_ids"][0] >= 0).sum())
    kept = sorted(scores, key=lambda place: -scores[place][0])[: math.ceil(0.4 * num_tokens)]
    kept.sort()
    vectors = [
        torch.cat([
            functional.gelu(model.antecedent_start(hidden[window, start])),
            functional.gelu(model.antecedent_end(hidden[window, end])),
        ])
        for _, window, start, end in (scores[place] for place in kept)
    ]  # fmt: skip
    pairs = [
        [
            float(model.antecedent_product(vectors[i]) @ vectors[j]) / (2 * width) ** 0.5
            + scores[kept[i]][0] + scores[kept[j]][0]
            for j in range(i)
        ]
        for i in range(len(kept))
    ]  # fmt: skip
    return kept, [scores[place][0] for place in kept], pairs


@pytest.mark.parametrize("name", NAMES)
def test_mentions_and_antecedents_are_those_of_the_definition(name):
    model = make_model(name, mention_width=8)
    batch = batch_of([[3, 2], [4], [1, 1, 2]])
    with torch.no_grad():
        columns = {name: batch[name][0] for name in ("input_ids", "attention_mask")}
        encode: Any = model.encode
        hidden = encode(**columns)[0]
        output = model(**batch)
        kept, scores, pairs = expected(model, hidden, batch)
    assert [tuple(span) for span in output.mention_spans[0].tolist() if span[0] >= 0] == kept
    torch.testing.assert_close(output.mention_logits[0, : len(kept)], torch.tensor(scores))
    for i, row in enumerate(pairs):
        found = output.antecedent_logits[0, i]
        torch.testing.assert_close(found[1 : 1 + i], torch.tensor(row))
        assert found[0] == 0 and (found[1 + i :] < -1e30).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_document_beside_a_longer_one_is_the_same(name):
    model = make_model(name)
    short, both = batch_of([[3, 2]]), batch_of([[3, 2]], [[9, 2], [4, 3], [5]])
    for column in ("input_ids",):
        both[column][0, 0, :6] = short[column][0, 0]
    with torch.no_grad():
        alone, beside = model(**short), model(**both)
    count = int((alone.mention_spans[0, :, 0] >= 0).sum())
    assert count == 2
    assert torch.equal(alone.mention_spans[0, :count], beside.mention_spans[0, :count])
    assert (beside.mention_spans[0, count:] == -1).all()
    torch.testing.assert_close(
        alone.antecedent_logits[0, :count, : count + 1],
        beside.antecedent_logits[0, :count, : count + 1],
    )


def test_no_more_mentions_are_kept_than_said():
    model = make_model(NAMES[0], max_mentions=3, mentions_per_token=5.0)
    assert model(**batch_of([[9, 9]])).mention_spans.shape == (1, 3, 2)
    with pytest.raises(UserError, match="mentions_per_token: is 0.0; give a number above 0"):
        make_model(NAMES[0], mentions_per_token=0.0)


def test_gold_mentions_are_kept_while_training_and_not_otherwise():
    model, batch = make_model(NAMES[0], max_mentions=2), batch_of([[3, 2], [4]], [[3]])
    spans = [[[1, 1], [7, 9]], [[0, 2], [1, 2]]]  # the second window starts at token 6
    gold = [[[*span, 0] for span in document] for document in spans]
    labels = torch.tensor([[*document, [-100] * 3] for document in gold])
    kept = model.train()(**batch, labels=labels).mention_spans
    assert kept.tolist() == spans
    alone = model.eval()(**batch).mention_spans
    assert alone.tolist() != spans
    assert torch.equal(model(**batch, labels=labels).mention_spans, alone)


def loss_by_loops(logits, spans, labels):
    """The loss as its docstring defines it."""
    by_document = []
    for scores, places, gold in zip(logits, spans.tolist(), labels.tolist(), strict=True):
        chain_of = {(first, last): chain for first, last, chain in gold if chain >= 0}
        if not chain_of:
            continue
        losses = []
        for i, place in enumerate(places):
            if place[0] < 0:
                continue
            chain = chain_of.get(tuple(place))
            right = [
                j + 1
                for j in range(i)
                if chain is not None and chain_of.get(tuple(places[j])) == chain
            ]
            probabilities = scores[i].softmax(-1)
            losses.append(-math.log(sum(float(probabilities[j]) for j in right or [0])))
        by_document.append(sum(losses) / max(1, len(losses)))
    return sum(by_document) / max(1, len(by_document))


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_that_of_the_definition(seed):
    generator = torch.Generator().manual_seed(seed)
    size = 6
    logits = torch.randn(3, size, size, generator=generator).double()
    logits = functional.pad(
        logits.masked_fill(~torch.ones(size, size).tril(-1).bool(), -1e9), (1, 0)
    )
    first = torch.randint(0, 9, (3, size), generator=generator).sort(1).values
    spans = torch.stack([first, first + torch.arange(size)], dim=-1)
    spans[1, 4:] = -1
    logits[1, 4:] = -1e9
    pick = torch.rand(3, size, generator=generator) < 0.7
    chains = torch.randint(0, 2, (3, size, 1), generator=generator)
    labels = torch.cat([spans, chains], dim=-1).masked_fill(~pick.unsqueeze(-1), -100)
    labels[1, 4:] = -100
    labels[2] = -100
    found = antecedent_loss(logits, spans, labels)
    assert float(found) == pytest.approx(loss_by_loops(logits, spans, labels))


def test_chains_follow_the_best_antecedents():
    class Output:
        mention_spans = torch.tensor([[[0, 0], [2, 3], [5, 5], [7, 9], [8, 8], [-1, -1]]])
        antecedent_logits = torch.nn.functional.one_hot(torch.tensor([[0, 0, 1, 2, 3, 0]]), 7)

    (found,) = mention_chains(Output, {})
    assert found == {"chains": [[[0, 0], [5, 5], [8, 8]], [[2, 3], [7, 9]]]}


def test_missing_columns_are_named():
    batch = batch_of([[2]])
    del batch["sentence_ids"]
    with pytest.raises(ValueError, match=r"sentence_ids \[B, W, S\] and window_lengths .* needed"):
        make_model(NAMES[0])(**batch)
