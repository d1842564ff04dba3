"""Our own searches find what transformers' loops find, although they drop finished rows."""

from __future__ import annotations

import pytest
import torch
from support.generation_toys import tiny_t5, written_examples
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BartConfig, BartForConditionalGeneration, LogitsProcessorList

from ke_t5.pipe.decoding import _likeliest, _top
from ke_t5.pipe.generation import generate

BEAMS = {"num_beams": 3, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def models():
    """A briefly trained T5, and a random BART whose end token is probable."""
    torch.manual_seed(0)
    sizes = {
        f"{part}_{name}": 2
        for part in ("encoder", "decoder")
        for name in ("layers", "attention_heads")
    }
    widths = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 1500}
    config = BartConfig(
        **sizes, **widths, pad_token_id=0, bos_token_id=1, eos_token_id=3, forced_eos_token_id=3,
        decoder_start_token_id=3, init_std=1.0,
    )  # fmt: skip
    bart = BartForConditionalGeneration(config).eval()
    bart.final_logits_bias[:, 3] = 12.0
    return {"t5": tiny_t5(), "bart": bart}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    _, examples = written_examples(tmp_path_factory.mktemp("examples"), num_rows=12)
    batch = examples.batch(range(12))
    return {name: torch.tensor(batch[name]).long() for name in ("input_ids", "attention_mask")}


def answers(sequences):
    """The ids of each sequence without padding."""
    return [[token for token in row if token not in (0, 3)] for row in sequences.tolist()]


@pytest.mark.parametrize("kind", ["t5", "bart"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"max_new_tokens": 12},
        {"max_new_tokens": 12, "repetition_penalty": 1.5},
        {**BEAMS, "early_stopping": True, "num_return_sequences": 2},
        {**BEAMS, "early_stopping": "never", "length_penalty": 1.3},
        {**BEAMS, "no_repeat_ngram_size": 2, "min_new_tokens": 3},
        {**BEAMS, "eos_token_id": [3, 5]},
    ],
    ids=str,
)
def test_what_is_found_is_what_transformers_finds_and_finished_rows_are_left_out(
    models, inputs, kind, arguments
):
    model, sizes = models[kind], []
    theirs = model.generate(**inputs, **arguments, return_dict_in_generate=True, output_scores=True)
    hook = model.register_forward_hook(lambda _, __, output: sizes.append(len(output.logits)))
    with torch.inference_mode():
        sequences, scores = generate(model, inputs, arguments)
    hook.remove()
    assert answers(sequences) == answers(theirs.sequences)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 12 * arguments.get("num_beams", 1)
    if kind == "t5" and arguments.get("early_stopping") != "never":
        assert sizes[-1] < sizes[0] and len({len(answer) for answer in answers(sequences)}) > 1
    if scores is not None:
        torch.testing.assert_close(torch.tensor(scores), theirs.sequences_scores.exp())


def test_what_looks_at_the_batch_as_a_whole_is_left_to_transformers(models, inputs):
    model, shapes = models["t5"], set()

    def processor(sequences, scores):
        shapes.add(len(sequences))
        return scores

    arguments = {**BEAMS, "logits_processor": LogitsProcessorList([processor])}
    sequences, scores = generate(model, inputs, arguments)
    plain, plain_scores = generate(model, inputs, BEAMS)
    assert shapes == {36} and answers(sequences) == answers(plain)
    assert scores == pytest.approx(plain_scores)


@pytest.mark.parametrize("size", [70, 640, 1500, 4099])
def test_the_best_of_a_large_vocabulary(size):
    scores = torch.randn(5, size, generator=torch.Generator().manual_seed(size))
    scores[1, -3:] = torch.tensor([9.0, 8.0, 7.0])
    values, places = _top(scores, 8)
    wanted = scores.topk(8)
    assert values.equal(wanted.values) and places.equal(wanted.indices)


@pytest.mark.parametrize("width", [4.0, 20.0, 200.0])
def test_what_is_too_small_to_count_changes_no_bit(width):
    torch.manual_seed(0)
    scores = torch.randn((16, 3200)) * width
    scores[0, 5:] = -torch.inf
    highest = scores.amax(1, keepdim=True)
    total = (scores - highest).exp().sum(1, keepdim=True)
    values, tokens = _likeliest(scores.clone(), torch.zeros((16, 1)), 4, LogitsProcessorList())
    assert torch.equal(values, scores.gather(1, tokens) - highest - torch.log(total))


class Waits(TorchDispatchMode):
    """Counts the values that the host reads, for which it would wait for a GPU."""

    number = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.number += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize("arguments", [{"max_new_tokens": 12}, BEAMS], ids=["greedy", "beams"])
def test_between_two_steps_the_host_waits_once(models, inputs, arguments):
    model, waits, numbers = models["t5"], Waits(), []
    hooks = [
        model.register_forward_pre_hook(lambda *_: numbers.append([waits.number])),
        model.register_forward_hook(lambda *_: numbers.append(waits.number)),
    ]
    with torch.no_grad(), waits:
        generate(model, inputs, arguments)
    for hook in hooks:
        hook.remove()
    # Before and after a forward pass: [1], 3, [4], 6, ...
    ends, begins = numbers[1:-1:2], numbers[2::2]
    found = [begin[0] - end for end, begin in zip(ends, begins, strict=True)]
    assert len(found) > 2 and set(found) == {1}
