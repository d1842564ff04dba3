"""Our heads: shapes, masks, names and losses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from support.our_models import BERT_SIZES, T5_SIZES, TAGS, make_batch, make_model
from torch._dynamo.testing import CompileCounter
from torch.nn import functional
from transformers import (
    BertConfig,
    BertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from ke_t5.forms import MODEL_FORMS
from ke_t5.lookup.loader import load_model
from ke_t5.models import heads, poolings, structured_heads
from ke_t5.models.crf import CRF

pytestmark = pytest.mark.usefixtures("quiet_transformers")

# Classes with a head on any encoder.
OUR_MODELS = [name for name in MODEL_FORMS if "Encoder" in name]


def logits_of(output):
    """The first tensor of logits, or the tags of a CRF."""
    found = [value for key, value in output.items() if "logits" in key]
    return found[0]


@pytest.mark.parametrize("name", OUR_MODELS)
def test_padding_changes_neither_loss_nor_logits(name):
    model = make_model(name)
    tight, padded = make_batch(name), make_batch(name, width=9)
    one, other = model(**tight), model(**padded)
    torch.testing.assert_close(one.loss, other.loss)
    if isinstance(one.logits if "logits" in one else None, list):
        assert one.logits == other.logits
        return
    for row, length in enumerate((5, 3, 1)):
        short, long = logits_of(one)[row], logits_of(other)[row]
        if "Coreference" in name:
            real = [found.mention_spans[row, :, 0] >= 0 for found in (one, other)]
            count = -(-4 * (length + 1) // 10)  # of the tokens of both windows
            assert [int(one.sum()) for one in real] == [count, count]
            short, long = short[:count, : count + 1], long[:count, : count + 1]
        if short.shape != long.shape or "Sequence" not in name:
            short, long = short[:length], long[:length]
            if "Dependency" in name:
                short, long = short[:, : length + 1], long[:, : length + 1]
        torch.testing.assert_close(short, long)


@pytest.mark.parametrize("name", OUR_MODELS)
@pytest.mark.parametrize("lengths", [(1,), (4,), (1, 1)])
def test_one_row_and_one_token_are_ordinary(name, lengths):
    model = make_model(name).train()
    batch = make_batch(name, lengths)
    output = model(**batch)
    output.loss.backward()
    assert output.loss.shape == () and torch.isfinite(output.loss)
    silent = [key for key, value in model.named_parameters() if value.grad is None]
    assert not silent
    without = model.eval()(**{k: v for k, v in batch.items() if "label" not in k[-7:]})
    assert len(logits_of(without)) == len(lengths)


@pytest.mark.parametrize("name", OUR_MODELS)
def test_a_batch_without_a_counted_label_has_a_finite_loss(name):
    batch = make_batch(name)
    keys = [key for key in batch if key.endswith(("labels", "positions"))]
    for key in keys:
        batch[key] = torch.full_like(batch[key], -100)
    assert torch.isfinite(make_model(name)(**batch).loss)


@pytest.mark.parametrize("name", OUR_MODELS)
def test_tuples_hidden_states_and_gradient_checkpointing(name):
    model = make_model(name, dropout_rate=0.0) if name.startswith("T5") else make_model(name)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train("Coreference" in name)  # which keeps gold mentions only in training
    batch = make_batch(name)
    output = model(**batch, output_hidden_states=True)
    assert len(output.hidden_states) >= 3
    assert torch.equal(model(**batch, return_dict=False)[0], output.loss)
    output.loss.backward()
    expected = {key: value.grad.clone() for key, value in model.named_parameters()}
    model.zero_grad()
    enable = "activation_checkpointing_enable"
    getattr(model, enable if hasattr(model, enable) else "gradient_checkpointing_enable")()
    model.train()(**batch).loss.backward()
    for key, value in model.named_parameters():
        torch.testing.assert_close(value.grad, expected[key], msg=key)


def test_head_names_are_those_of_released_models():
    body = {"shared", "encoder"}
    kinds = ("weight", "bias")
    pooler = {f"pooler.dense{n}.{kind}" for n in (1, 2) for kind in kinds}
    linear = {"classifier.weight", "classifier.bias"}
    pair = {
        f"{part}.0.{kind}" for part in ("fc_layer", "classifier") for kind in ("weight", "bias")
    }
    crf = {f"crf.{part}" for part in ("start_transitions", "end_transitions", "transitions")}
    feed = {"position_wise_ff.weight", "position_wise_ff.bias"}
    for name, expected in {
        "T5EncoderForSequenceClassificationSimple": pooler | linear,
        "T5EncoderForSequenceClassificationMean": pooler | linear,
        "T5EncoderForTokenClassification": linear,
        "T5EncoderForEntityRecognitionWithCRF": crf | feed,
        "T5EncoderForSequenceClassificationMeanSubmeanObjmean": pooler | pair,
        "T5EncoderForSequenceClassificationFirstSubmeanObjmean": pooler | pair,
    }.items():
        keys = make_model(name).state_dict()
        assert {key for key in keys if key.split(".")[0] not in body} == expected


@pytest.mark.parametrize("name", [n for n in OUR_MODELS if n.startswith("T5")])
def test_seq2seq_weights_load_into_the_encoder(name, tmp_path):
    whole = T5ForConditionalGeneration(T5Config(**T5_SIZES))
    whole.save_pretrained(tmp_path)
    model, info = load_model(name).from_pretrained(tmp_path, output_loading_info=True)
    assert info["unexpected_keys"] == set()
    assert all(key.split(".")[0] not in ("shared", "encoder") for key in info["missing_keys"])
    ours, theirs = model.encoder.state_dict(), whole.encoder.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert model.config.model_type.startswith("ke_t5_") and not model.config.is_encoder_decoder


@pytest.mark.parametrize("name", [n for n in OUR_MODELS if not n.startswith("T5")])
@pytest.mark.parametrize("kind", ["roberta", "bert", "t5"])
def test_any_encoder_is_loaded_without_its_own_head(name, kind, tmp_path):
    whole = {
        "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**BERT_SIZES)),
        "bert": lambda: BertForMaskedLM(BertConfig(**BERT_SIZES)),
        "t5": lambda: T5ForConditionalGeneration(T5Config(**T5_SIZES)),
    }[kind]()
    whole.save_pretrained(tmp_path / "encoder")
    model, info = load_model(name).from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert not [key for key in info["missing_keys"] if key.startswith("backbone.")]
    theirs = whole.get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, theirs)
    model.save_pretrained(tmp_path / "ours")
    again = load_model(name).from_pretrained(tmp_path / "ours")
    assert model.state_dict().keys() == again.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


def test_released_checkpoints_that_say_t5_load(tmp_path):
    name = "T5EncoderForSequenceClassificationMean"
    model = make_model(name)
    model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"ke_t5_sequence_mean"', '"t5"'))
    again, info = load_model(name).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    batch = make_batch(name)
    assert torch.equal(model(**batch).logits, again(**batch).logits)


def test_new_heads_are_drawn_narrow_enough_to_learn():
    for name in OUR_MODELS:
        linears = {
            key: module
            for key, module in make_model(name).named_modules()
            if isinstance(module, torch.nn.Linear)
            and key.split(".")[0] not in ("encoder", "backbone")
        }
        for key, module in linears.items():
            expected = module.in_features**-0.5
            assert 0.5 * expected < module.weight.std() < 1.5 * expected, (name, key)


def test_poolers():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False, False]])
    assert poolings.first_token(hidden, mask).tolist() == [[1.0, 2.0]]
    assert poolings.first_token(hidden, ~mask).tolist() == [[9.0, 9.0]]
    assert poolings.last_token(hidden, mask).tolist() == [[3.0, 4.0]]
    assert poolings.last_token(hidden, ~mask).tolist() == [[9.0, 9.0]]
    assert poolings.mean_over_tokens(hidden, mask).tolist() == [[2.0, 3.0]]
    assert poolings.mean_over_tokens(hidden, mask & ~mask).tolist() == [[0.0, 0.0]]
    root = 2**0.5
    torch.testing.assert_close(
        poolings.sum_over_root_length(hidden, mask), torch.tensor([[4 / root, 6 / root]])
    )
    assert poolings.span_mean(hidden, torch.tensor([[1, 2]])).tolist() == [[3.0, 4.0]]
    assert poolings.span_mean(hidden, torch.tensor([[0, 2]])).tolist() == [[2.0, 3.0]]
    assert poolings.span_mean(hidden, torch.tensor([[2, 2]])).tolist() == [[0.0, 0.0]]


def test_gold_positions_outside_the_text_are_ignored():
    name = "T5EncoderForQuestionAnswering"
    model, batch = make_model(name), make_batch(name, lengths=(5, 3))
    alone = model(**{key: value[:1] for key, value in batch.items()}).loss
    for outside in (-1, -100, 4, 5, 99):  # in the second text, 4 is padding
        batch["start_positions"][1] = batch["end_positions"][1] = outside
        torch.testing.assert_close(model(**batch).loss, alone)


def test_places_in_a_token():
    index = torch.tensor([[0, 0, 0, 1, -1]])
    start, end = structured_heads.places_in_token(index, 2)
    assert (start.tolist(), end.tolist()) == ([[0, 1, 1, 0, 0]], [[1, 1, 0, 0, 0]])
    index = torch.tensor([[4], [0]])
    start, end = structured_heads.places_in_token(index, 2)
    assert start.tolist() == end.tolist() == [[0], [0]]
    index = torch.tensor([[0, 2, 2, 5, 5, 5], [1, 1, 1, 1, -1, -1]])
    start, end = structured_heads.places_in_token(index, 9)
    assert start.tolist() == [[0, 0, 1, 0, 1, 2], [0, 1, 2, 3, 0, 0]]
    assert end.tolist() == [[0, 1, 0, 2, 1, 0], [3, 2, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("problem_type", "labels"),
    [
        ("regression", torch.tensor([0.5, -1.0])),
        (None, torch.tensor([[0.5], [-1.0]])),
    ],
)
def test_regression(problem_type, labels):
    logits = torch.tensor([[1.0], [1.0]])
    loss = heads.sequence_loss(logits, labels, problem_type)
    assert loss.item() == pytest.approx((0.25 + 4) / 2)


def test_classification_losses_are_those_of_transformers():
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    single, several = torch.tensor([2, 0]), torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    for problem_type in (None, "single_label_classification"):
        loss = heads.sequence_loss(logits, single, problem_type)
        torch.testing.assert_close(loss, functional.cross_entropy(logits, single))
    for problem_type in (None, "multi_label_classification"):
        loss = heads.sequence_loss(logits, several, problem_type)
        expected = functional.binary_cross_entropy_with_logits(logits, several)
        torch.testing.assert_close(loss, expected)
    with pytest.raises(ValueError, match="unknown problem_type 'ranking'"):
        heads.sequence_loss(logits, single, "ranking")


def test_a_missing_index_is_named():
    for name, column in (
        ("T5EncoderForSequenceClassificationMeanSubmeanObjmean", "entity_token_idx"),
        ("T5EncoderForCharacterTagging", "character_token_idx"),
        ("T5EncoderForDependencyParsing", "word_token_idx"),
    ):
        batch = make_batch(name)
        del batch[column]
        with pytest.raises(ValueError, match=f"{column} .* is required"):
            make_model(name)(**batch)


def test_choices_in_one_row_of_tokens_are_refused():
    batch = make_batch("EncoderForMultipleChoice")
    batch["input_ids"] = batch["input_ids"][:, 0]
    with pytest.raises(ValueError, match=r"input_ids \[rows, choices, tokens\] or inputs_embeds"):
        make_model("EncoderForMultipleChoice")(**batch)


def test_crf_searches_only_without_labels_or_in_evaluation():
    name = "T5EncoderForEntityRecognitionWithCRF"
    model, batch = make_model(name), make_batch(name)
    assert model.loss_divisor == "rows"
    assert [len(row) for row in model(**batch).logits] == [5, 3, 1]
    model.train()
    assert model(**batch).logits is None
    del batch["labels"]
    output = model(**batch)
    assert output.loss is None and [len(row) for row in output.logits] == [5, 3, 1]


@pytest.mark.parametrize("name", ["EncoderForCharacterTagging", "T5EncoderForCharacterTagging"])
def test_character_tagging_with_a_crf(name):
    model = make_model(name)
    output = model(**make_batch(name))
    assert [len(row) for row in output.logits] == [5, 3, 1]
    assert model.loss_divisor == "rows"
    assert all(row[0] != 1 for row in output.logits)


@pytest.mark.parametrize("name", ["EncoderForCharacterTagging", "T5EncoderForCharacterTagging"])
def test_character_tagging_without_a_crf(name):
    model, batch = make_model(name, character_crf=False), make_batch(name)
    output, padded = model(**batch), model(**make_batch(name, width=9))
    assert model.loss_divisor is None
    torch.testing.assert_close(output.logits, padded.logits[:, :5])
    expected = functional.cross_entropy(output.logits.flatten(0, 1), batch["labels"].flatten())
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(padded.loss, expected)


def test_gold_that_breaks_iob2_costs_no_more_than_what_is_unknown():
    # An entity that starts inside a token: its next token is I- after O.
    name = "T5EncoderForEntityRecognitionWithCRF"
    model, batch = make_model(name, crf_iob2=True), make_batch(name, lengths=(5, 3))
    inside, outside, unknown = 1, 2, -100
    batch["labels"] = torch.tensor(
        [[inside, inside, outside, inside, unknown], [unknown, inside, outside, -100, -100]]
    )
    loss = model(**batch).loss
    batch["labels"] = torch.tensor(
        [[unknown, inside, outside, unknown, unknown], [unknown, inside, outside, -100, -100]]
    )
    assert loss < 100 and torch.equal(loss, model(**batch).loss)


class Tagger(torch.nn.Module):
    """A CRF's head without an encoder."""

    num_labels = 3
    config = SimpleNamespace(crf_iob2=True, id2label=TAGS)

    def __init__(self):
        super().__init__()
        self.position_wise_ff, self.crf = torch.nn.Linear(4, 3), CRF(3)

    def forward(self, hidden, labels, mask):
        emissions = self.position_wise_ff(hidden)
        return structured_heads._crf_results(self, self.crf, emissions, labels, mask)[0] * 2


# torch's own, where a graph ends before a tensor that has a gradient.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_torch_compile_translates_what_is_around_a_crf():
    model, counter = Tagger().train(), CompileCounter()
    compiled = torch.compile(model, backend=counter, dynamic=True)
    for lengths in ((5, 3, 1), (4, 2, 2), (3, 3, 3)):
        mask = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)
        inputs = torch.randn(3, 5, 4), torch.full((3, 5), 2), mask
        torch.testing.assert_close(compiled(*inputs), model(*inputs))
    assert counter.frame_count == 2  # before it and after it


def test_a_word_is_never_its_own_head():
    name = "EncoderForDependencyParsing"
    heads_found = make_model(name)(**make_batch(name)).head_logits.argmax(-1)
    itself = torch.arange(1, heads_found.size(1) + 1)
    assert not (heads_found == itself).any()
