"""`fit.compile`: layers are compiled once, for all lengths; predictions are not."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, T5Config, T5EncoderModel

from ke_t5.pipe.eager import eager, is_compiled
from ke_t5.train.compilation import compile_layers, report_first_step, stacked_layers

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 16, "num_labels": 3,
}  # fmt: skip
T5_SIZES = {"vocab_size": 40, "d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 2, "num_heads": 2}
LENGTHS = ((4, 7), (3, 9), (2, 5))


def bert():
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SIZES)).eval()


def step(model, num_rows, length):
    """The loss of a batch, and the norm of its gradient."""
    ids = torch.arange(num_rows * length).view(num_rows, length) % 40
    mask = torch.ones_like(ids)
    mask[0, -1] = 0
    model.zero_grad()
    loss = model(input_ids=ids, attention_mask=mask, labels=torch.zeros(num_rows).long()).loss
    loss.backward()
    norms = [one.grad.norm() for one in model.parameters() if one.grad is not None]
    return torch.stack([loss.detach(), torch.stack(norms).norm()])


def test_the_layers_of_a_stack_are_found():
    assert [type(one).__name__ for one in stacked_layers(bert())] == ["BertLayer"] * 3
    t5 = T5EncoderModel(T5Config(**T5_SIZES))
    assert [type(one).__name__ for one in stacked_layers(t5)] == ["T5Block"] * 2
    assert not list(stacked_layers(torch.nn.Sequential(torch.nn.Linear(2, 2))))


@pytest.mark.filterwarnings("ignore")  # torch's own warning during compilation
def test_one_translation_serves_all_layers_and_lengths(request, caplog):
    backend = "inductor" if request.config.getoption("--full") else "aot_eager"
    torch._dynamo.reset()
    plain, compiled = bert(), bert()
    names = list(compiled.state_dict())
    with caplog.at_level("INFO", "ke_t5"):
        compile_layers(compiled, backend=backend)
    assert caplog.messages == ["fit.compile: compiling BertLayer (3) in the first step"]
    assert list(compiled.state_dict()) == names and is_compiled(compiled)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for sizes in LENGTHS:
        torch.testing.assert_close(step(compiled, *sizes), step(plain, *sizes))
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"] - before
    assert 1 <= made <= 2
    with eager(compiled), torch.no_grad():
        compiled(input_ids=torch.ones(1, 1).long())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before == made
    torch._dynamo.reset()


def test_a_model_without_layers_is_compiled_as_a_whole(caplog):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with caplog.at_level("INFO", "ke_t5"):
        compile_layers(model, backend="aot_eager")
    assert caplog.messages == ["fit.compile: compiling Sequential (1) in the first step"]
    assert is_compiled(model) and not is_compiled(model[0])


def test_the_first_step_is_timed(caplog):
    with caplog.at_level("INFO"):
        assert list(report_first_step(iter([1, 2]))) == [1, 2]
    (line,) = caplog.messages
    assert line.startswith("fit.compile: compiled; the first step took ")
    assert line.endswith(" s")
