"""Building and exporting: what is loaded, drawn, refused, and written."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    PegasusConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    pipeline,
)
from transformers.utils import logging as transformers_logging

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import find_pretrained
from ke_t5.lookup.loader import load_model
from ke_t5.lookup.settings import get_model_config
from ke_t5.models.build import build_model, quiet
from ke_t5.models.export import export
from ke_t5.seals import seal_folder

NAMES = ["정치", "경제", "사회"]
TASK = {
    "num_labels": 3,
    "id2label": dict(enumerate(NAMES)),
    "label2id": {name: index for index, name in enumerate(NAMES)},
    "problem_type": "single_label_classification",
}
T5_SIZES = dict(vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
T5_V11 = dict(T5_SIZES, feed_forward_proj="gated-gelu", decoder_start_token_id=0)
BERT_SIZES = dict(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=40,
)
MEAN = "T5EncoderForSequenceClassificationMean"


def build(name, folder, *, from_scratch=False, seed=1, task_config=TASK, **options):
    model_class = load_model(name) if isinstance(name, str) else name
    return build_model(
        model_class,
        folder,
        from_scratch=from_scratch,
        seed=seed,
        task_config=task_config,
        **options,
    )


def make_tokenizer(size=40):
    words = ["<pad>", "</s>", "<unk>", *(chr(ord("가") + i) for i in range(size - 3))]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture
def v11(tmp_path):
    """A folder with the configuration of a T5 v1.1, and no weights."""
    folder = tmp_path / "t5-v11"
    folder.mkdir()
    config = {"model_type": "t5", **T5_V11, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def bert(tmp_path):
    """A folder with a masked language model."""
    torch.manual_seed(0)
    with quiet():
        BertForMaskedLM(BertConfig(**BERT_SIZES)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def edit_weights(folder, change):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_the_note_names_the_new_head_and_what_was_left_out(bert, capfd):
    model, note = build("transformers:BertForSequenceClassification", bert)
    # This checkpoint has no pooler either, as many Korean ones.
    assert note.startswith(
        f"{bert}: weights loaded, 0.0 M parameters; new head: bert.pooler, classifier; "
        "risk: bert.pooler is untrained and may learn nothing for hundreds of steps "
        "(EncoderForSequenceClassificationMean needs no pooler); "
    )
    assert note.endswith("left out: cls")
    assert model.config.id2label == TASK["id2label"] and not model.training
    assert capfd.readouterr() == ("", "")


def test_loaded_weights_begin_where_torch_would_allocate_them(bert):
    """Else kernels add them up in another order than the weights of a checkpoint."""
    with quiet():
        mapped = BertForMaskedLM.from_pretrained(bert)
    assert any(weight.data_ptr() % 64 for weight in mapped.parameters())
    model, _ = build("transformers:BertForSequenceClassification", bert)
    assert not any(weight.data_ptr() % 64 for weight in model.parameters())
    same = model.bert.embeddings.word_embeddings.weight
    assert torch.equal(same, mapped.bert.embeddings.word_embeddings.weight)


def test_a_user_changes_the_configuration(v11):
    name, options = "T5EncoderForCharacterTagging", {"from_scratch": True}
    config = {"character_crf": False, "dropout_rate": 0}
    model, _ = build(name, v11, model_config=config, **options)
    assert model.crf is None and model.config.dropout_rate == 0
    assert build(name, v11, **options)[0].crf is not None
    for config, message in (
        ({"crf_iob": True}, "model.config: T5CharacterConfig has no 'crf_iob'; did you mean"),
        ({"crf_iob2": "yes"}, "model.config: 'crf_iob2' must be like True, not 'yes'"),
    ):
        with pytest.raises(UserError, match=message):
            build(name, v11, model_config=config, **options)
    with pytest.raises(UserError, match="model.config: 'id2label' is what the task says"):
        get_model_config({"dropout_rate": 0.2, "id2label": {}})


def test_nothing_is_said_of_a_decoder(v11, tmp_path, capfd):
    whole, _ = build("transformers:T5ForConditionalGeneration", v11, from_scratch=True)
    export(whole, make_tokenizer(), tmp_path / "whole", card="")
    _, note = build(MEAN, tmp_path / "whole")
    assert note.endswith("parameters; new head: classifier, pooler")
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_weights_says_from_scratch(v11):
    message = "contains no weights .*; add --from_scratch true"
    with pytest.raises(UserError, match=message) as caught:
        build(MEAN, v11)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_fresh_weights_depend_on_the_seed_alone(v11):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, note = build(MEAN, v11, from_scratch=True, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    same, _ = build(MEAN, v11, from_scratch=True, seed=3)
    other, _ = build(MEAN, v11, from_scratch=True, seed=4)
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))
    assert not torch.equal(one.shared.weight, other.shared.weight)
    assert note.startswith(f"{v11}: fresh weights (seed 3), ")


def test_a_new_head_depends_on_the_seed_alone(bert):
    heads = [
        build("transformers:BertForSequenceClassification", bert, seed=seed)[0].classifier.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_a_missing_key_outside_the_head_is_named(bert):
    key = "bert.encoder.layer.1.attention.self.query.weight"
    edit_weights(bert, lambda weights: weights.pop(key))
    with pytest.raises(UserError, match=f"do not fit BertForSequenceC.*: {key} missing") as caught:
        build("transformers:BertForSequenceClassification", bert)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_another_shape_outside_the_head_is_named(bert):
    key = "bert.embeddings.word_embeddings.weight"
    edit_weights(bert, lambda weights: weights.update({key: torch.zeros(7, 16)}))
    message = r"word_embeddings.weight \(file \[7, 16\], model \[40, 16\]\) have another shape"
    with pytest.raises(UserError, match=message):
        build("transformers:BertForSequenceClassification", bert)


def test_a_fine_tuned_model_starts_another_task(bert, tmp_path):
    model, _ = build("transformers:BertForSequenceClassification", bert)
    export(model, make_tokenizer(), tmp_path / "tuned", card="")
    name = "transformers:BertForSequenceClassification"
    again, note = build(name, tmp_path / "tuned")
    assert torch.equal(again.classifier.weight, model.classifier.weight) and "new" not in note
    other, note = build(name, tmp_path / "tuned", task_config={"num_labels": 7})
    assert other.classifier.weight.shape == (7, 16) and note.endswith("; new head: classifier")
    message = "classifier.bias, classifier.weight .*another shape; choose .* that they belong to$"
    with pytest.raises(UserError, match=message):
        build(name, tmp_path / "tuned", task_config={"num_labels": 7}, new_head=False)


def of_somebody(folder):
    """An export as another program would have written it: unsealed, of a class that is not ours."""
    (folder / "MANIFEST.json").unlink()
    edit_config(folder, lambda config: config.update(architectures=["Some"]))
    return folder


def edit_config(folder, change):
    """Changes a folder's configuration."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_a_head_for_the_same_labels_in_another_order_is_not_tested(v11, tmp_path):
    """Its numbers would be read as other names: 84 % would look like 7 %."""
    model, _ = build(MEAN, v11, from_scratch=True)
    export(model, make_tokenizer(), tmp_path / "tuned", card="")
    labels = {"id2label": dict(enumerate(NAMES[::-1]))}
    told = "labels 정치, 경제, 사회, the task 사회, 경제, 정치"
    with pytest.raises(UserError, match=f"{told}: the same in another order"):
        build(MEAN, tmp_path / "tuned", task_config=labels, new_head=False)
    _, note = build(MEAN, tmp_path / "tuned", task_config=labels)
    assert note.endswith(told)
    other = {"id2label": {0: "가", 1: "나", 2: "다"}}
    told = "labels 정치, 경제, 사회, the task 가, 나, 다"
    with pytest.raises(UserError, match=f"{told}; test it on a task with its labels"):
        build(MEAN, tmp_path / "tuned", task_config=other, new_head=False)
    foreign = of_somebody(tmp_path / "tuned")
    _, note = build(MEAN, foreign, task_config=other, new_head=False)
    assert note.endswith(told)
    edit_config(foreign, lambda config: config["id2label"].pop("2"))
    with pytest.raises(
        UserError, match="labels 정치, 경제, the task 가, 나, 다; test it on a task"
    ):
        build(MEAN, foreign, task_config=other, new_head=False)
    edit_config(foreign, lambda config: config["id2label"].update({"2": "사회"}))
    _, note = build(MEAN, tmp_path / "tuned", new_head=False)
    assert "labels" not in note


def test_one_of_our_heads_can_follow_another(v11, tmp_path):
    model, _ = build(MEAN, v11, from_scratch=True)
    export(model, make_tokenizer(), tmp_path / "mean", card="")
    tagger, note = build("T5EncoderForTokenClassification", tmp_path / "mean")
    assert torch.equal(tagger.shared.weight, model.shared.weight)
    assert note.endswith("left out: pooler")
    assert tagger.config.model_type == "ke_t5_token"


@pytest.mark.parametrize("name", ["transformers:RobertaForSequenceClassification", MEAN])
def test_a_model_of_another_type_is_refused(bert, name):
    with pytest.raises(UserError, match="checkpoint is 'bert', but .* expects '(roberta|t5)'"):
        build(name, bert)


def test_a_decoder_that_its_encoder_cannot_do_without_is_refused(tmp_path):
    PegasusConfig(vocab_size=40, d_model=16).save_pretrained(tmp_path)
    message = "checkpoint is 'pegasus', but .*WithCRF expects a stand-alone encoder of transformers"
    with pytest.raises(UserError, match=message):
        build("EncoderForEntityRecognitionWithCRF", tmp_path, from_scratch=True)


def test_a_class_without_a_configuration_class_is_one_line(bert):
    class Bare(PreTrainedModel):
        """A user's class that forgot it."""

    with pytest.raises(UserError, match="Bare names no configuration class; say config_class"):
        build(Bare, bert)


def test_an_error_of_the_class_is_not_laid_on_the_weights(bert):
    class Broken(BertForSequenceClassification):
        """A user's class with a fault of its own."""

        def __init__(self, config):
            super().__init__(config)
            raise ValueError("three is not a number of heads")

    with pytest.raises(ValueError, match="three is not a number of heads"):
        build(Broken, bert)


def test_a_tokenizer_with_too_many_ids_names_both(bert):
    tokenizer = make_tokenizer(41)
    tokenizer.name_or_path = "some/vocabulary"
    message = f"'some/vocabulary' has 41 ids, but the embedding of '{bert}' 40 rows"
    for name in (BertForSequenceClassification, "EncoderForCharacterTagging"):
        with pytest.raises(UserError, match=message):
            build(name, bert, tokenizer=tokenizer)
        build(name, bert, tokenizer=make_tokenizer(40))


def test_a_truncated_file_is_one_line(bert):
    path = bert / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="its weights cannot be read") as caught:
        build("transformers:BertForSequenceClassification", bert)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_pickled_weights_load_and_run_no_code(bert, tmp_path):
    from safetensors.torch import load_file

    weights = load_file(bert / "model.safetensors")
    (bert / "model.safetensors").unlink()
    torch.save(weights, bert / "pytorch_model.bin")
    model, _ = build("transformers:BertForSequenceClassification", bert)
    key = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(model.state_dict()[key], weights[key])

    canary = tmp_path / "canary"
    torch.save({"x": Canary(canary)}, bert / "pytorch_model.bin")
    with pytest.raises(UserError, match="its weights cannot be read"):
        build("transformers:BertForSequenceClassification", bert)
    assert not canary.exists()


class Canary:
    """Touches a file when it is unpickled without restrictions."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("{}", "names no model_type"),
        (None, "there is no config.json in it"),
    ],
)
def test_a_folder_that_is_no_model(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        build(MEAN, tmp_path)


def test_a_folder_that_does_not_exist_names_its_neighbour(v11):
    with pytest.raises(UserError, match="no such folder; did you mean '.*t5-v11'"):
        build(MEAN, v11.with_name("t5-v1"))


def test_a_hub_name_without_network_is_one_line():
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set; .*hf download KETI-AIR/no-such"):
        find_pretrained("KETI-AIR/no-such")


IDS = torch.tensor([[5, 6, 7, 1]])


def same_logits(one, other):
    return torch.equal(*(model(input_ids=IDS, labels=IDS).logits for model in (one, other)))


def test_t5_v11_has_a_head_of_its_own_wherever_it_goes(v11, tmp_path):
    model, _ = build(T5ForConditionalGeneration, v11, from_scratch=True, task_config={})
    assert model.lm_head.weight is not model.shared.weight
    assert 0.5 < model.lm_head.weight.std() * 16**0.5 < 1.5
    model.tie_weights()
    assert not torch.equal(model.lm_head.weight, model.shared.weight)

    export(model, make_tokenizer(), tmp_path / "out", card="")
    with quiet():
        plain = T5ForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    assert same_logits(model, plain)
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False

    loaded, _ = build(T5ForConditionalGeneration, tmp_path / "out", task_config={})
    loaded.tie_weights()
    assert same_logits(model, loaded)
    with quiet():
        loaded.save_pretrained(tmp_path / "again")
        plain = T5ForConditionalGeneration.from_pretrained(tmp_path / "again").eval()
    assert same_logits(model, plain)


def test_t5_v11_survives_copies_of_its_state(v11):
    one, _ = build(T5ForConditionalGeneration, v11, from_scratch=True, task_config={})
    other, _ = build(T5ForConditionalGeneration, v11, from_scratch=True, task_config={}, seed=2)
    assert not same_logits(one, other)
    state = {f"module.{key}": value.clone() for key, value in one.state_dict().items()}
    other.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    assert same_logits(one, other) and same_logits(one, copy.deepcopy(one))
    assert "lm_head.weight" in dict(one.named_parameters())


def test_t5_v11_without_its_head_is_refused(v11, tmp_path):
    model, _ = build(T5ForConditionalGeneration, v11, from_scratch=True, task_config={})
    export(model, make_tokenizer(), tmp_path / "out", card="")
    edit_weights(tmp_path / "out", lambda weights: weights.pop("lm_head.weight"))
    seal_folder(tmp_path / "out")
    with pytest.raises(UserError, match="lm_head.weight missing"):
        build(T5ForConditionalGeneration, tmp_path / "out", task_config={})


def test_the_first_t5_keeps_its_tied_and_scaled_head(tmp_path):
    with quiet():
        model = T5ForConditionalGeneration(T5Config(**T5_SIZES, decoder_start_token_id=0)).eval()
    export(model, make_tokenizer(), tmp_path / "out", card="")
    loaded, _ = build(T5ForConditionalGeneration, tmp_path / "out", task_config={})
    assert loaded.lm_head.weight is loaded.shared.weight
    assert same_logits(model, loaded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_weights_have_the_type_asked_for(v11, tmp_path, dtype):
    model, _ = build(MEAN, v11, from_scratch=True, dtype=dtype)
    export(model, make_tokenizer(), tmp_path / "out", card="")
    again, _ = build(MEAN, tmp_path / "out", dtype=dtype)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert one.dtype == other.dtype == dtype and torch.equal(one, other)


def test_an_export_holds_all_that_a_pipeline_needs(bert, tmp_path):
    model, _ = build("transformers:BertForSequenceClassification", bert)
    folder = export(model, make_tokenizer(), tmp_path / "deep/out", card="# 카드\n")
    assert (folder / "README.md").read_text(encoding="utf-8") == "# 카드\n"
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    with quiet():
        run = pipeline("text-classification", model=str(folder))
    assert type(run.model) is BertForSequenceClassification
    assert run("가나다")[0]["label"] in NAMES


def test_an_export_replaces_an_export_and_nothing_else(bert, tmp_path):
    model, _ = build("transformers:BertForSequenceClassification", bert)
    for card in ("one", "two"):
        export(model, make_tokenizer(), tmp_path / "out", card=card)
    assert (tmp_path / "out/README.md").read_text() == "two"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="--hf_path .*mine: it exists and is not an exported model"):
        export(model, make_tokenizer(), tmp_path / "mine", card="")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_an_export_that_reads_back_differently_leaves_the_old_one(bert, tmp_path):
    model, _ = build(Forgetful, bert)
    folder = export(model.eval(), make_tokenizer(), tmp_path / "out", card="old")
    Forgetful.forgets = True
    with pytest.raises(UserError, match="reads back differently: classifier.bias"):
        export(model, make_tokenizer(), folder, card="new")
    assert (folder / "README.md").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] != []
    assert not list(tmp_path.glob(".*tmp*"))


class Forgetful(BertForSequenceClassification):
    """A user's model that does not read back what it wrote."""

    forgets = False

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        loaded = super().from_pretrained(*args, **kwargs)
        if cls.forgets:
            torch.nn.init.ones_(loaded.classifier.bias)
        return loaded


def test_quiet_gives_the_screen_back():
    before = transformers_logging.get_verbosity()
    with quiet():
        assert transformers_logging.get_verbosity() > before
    assert transformers_logging.get_verbosity() == before
    assert transformers_logging.is_progress_bar_enabled()
