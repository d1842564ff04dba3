"""LoRA: trained weights, merging, and adapter files that peft reads."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import transformers
from peft import PeftModel

from ke_t5.errors import UserError
from ke_t5.lookup.lora import (
    LoraSettings,
    check_lora,
    get_lora_settings,
    lora_settings,
    read_base,
    read_lora,
    write_lora,
)
from ke_t5.models import models
from ke_t5.models.account import in_head
from ke_t5.models.configs import AnyMeanSequenceConfig, T5TokenConfig
from ke_t5.models.lora import add_lora, has_lora, merge_lora, write_adapter
from ke_t5.train.settings import recompute_activations

SIZES = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip
T5 = {"vocab_size": 60, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2,
      "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}  # fmt: skip
SETTINGS = LoraSettings(rank=4, alpha=8.0, dropout=0.0)


def bert():
    return transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES))


def mean_roberta():
    body = transformers.RobertaConfig(**SIZES)
    return models.EncoderForSequenceClassificationMean(
        AnyMeanSequenceConfig(backbone=body, num_labels=2)
    )


def t5_generator():
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**T5))


def t5_tagger():
    return models.T5EncoderForTokenClassification(T5TokenConfig(**T5, num_labels=3))


def gpt2():
    sizes = {"vocab_size": 60, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40}
    config = transformers.GPT2Config(**sizes, pad_token_id=0, bos_token_id=1, eos_token_id=1)
    return transformers.GPT2ForSequenceClassification(config)


def qwen3():
    config = transformers.Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=8)
    return transformers.Qwen3ForSequenceClassification(config)


# Model -> the layers with adapters, and the prefixes of the parameters trained in full.
MODELS = {
    bert: (6, ("classifier", "bert.pooler")),
    mean_roberta: (6, ("pooler", "classifier")),
    t5_generator: (16, ()),
    t5_tagger: (6, ("classifier",)),
    gpt2: (4, ("score",)),
    qwen3: (7, ("score",)),
}
IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]])


def outputs(model):
    arguments = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        answer = model.eval()(input_ids=IDS, attention_mask=(IDS > 0).long(), **arguments)
    return answer.logits


def taught(model, seed=0):
    """Changes the model's trainable weights, as an optimizer would."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(params=MODELS, ids=lambda maker: maker.__name__)
def maker(request):
    torch.manual_seed(0)
    return request.param


def test_adapters_and_head_are_trained_and_merged(maker):
    layers, heads = MODELS[maker]
    model = maker()
    before, plain_names = outputs(model), list(model.state_dict())
    weights = copy.deepcopy(model.state_dict())
    line = add_lora(model, SETTINGS, seed=1)
    assert (
        f"LoRA of rank 4 beside {layers} layers: " in line and " parameters are trained (" in line
    )
    assert torch.equal(outputs(model), before), "adapters begin at zero"
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    adapters = {name for name in trained if ".lora_" in name}
    assert len(adapters) == 2 * layers
    assert {name for name, _ in model.named_parameters() if name.startswith(heads or ("-",))} == (
        trained - adapters
    )
    taught(model)
    changed = outputs(model)
    assert not torch.allclose(changed, before, atol=1e-3)
    assert has_lora(model)
    merge_lora(model)
    assert not has_lora(model) and list(model.state_dict()) == plain_names
    assert torch.allclose(outputs(model), changed, atol=1e-5)
    kept = [name for name in weights if torch.equal(weights[name], model.state_dict()[name])]
    assert len(kept) == len(plain_names) - len(trained) + layers


def test_every_trained_weight_gets_a_gradient_even_if_activations_are_recomputed(maker):
    model = maker()
    add_lora(model, SETTINGS, seed=1)
    model = taught(model).train()
    recompute_activations(model)
    arguments = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
    answer = model(input_ids=IDS, attention_mask=(IDS > 0).long(), **arguments)
    answer.logits.float().sin().sum().backward()
    assert all((one.grad is not None) == one.requires_grad for one in model.parameters())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's warning
def test_peft_reads_the_adapter(maker, tmp_path):
    base = maker()
    model = copy.deepcopy(base)
    add_lora(model, SETTINGS, seed=1)
    write_adapter(taught(model), tmp_path, base="klue/some-model")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "klue/some-model" and config["r"] == 4
    read = PeftModel.from_pretrained(base, tmp_path)
    assert torch.allclose(outputs(read), outputs(model), atol=1e-6)


def test_the_seed_alone_decides_what_is_drawn():
    drawn = []
    for seed, state in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(0)
        model = bert()
        torch.manual_seed(state)
        add_lora(model, SETTINGS, seed=seed)
        drawn.append(
            model.state_dict()["bert.encoder.layer.0.attention.self.query.lora_A.default.weight"]
        )
        assert torch.equal(torch.rand(1), torch.manual_seed(state) and torch.rand(1))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_layers_by_the_ends_of_their_names():
    settings = LoraSettings(rank=2, alpha=2.0, dropout=0.1, target_modules=("query", "self.value"))
    model = bert()
    assert "beside 2 layers" in add_lora(model, settings, seed=0)
    wrong = LoraSettings(rank=2, alpha=2.0, dropout=0.1, target_modules=("query", "q_proj"))
    with pytest.raises(UserError) as error:
        add_lora(bert(), wrong, seed=0)
    assert str(error.value) == (
        "error: lora.target_modules: BertForSequenceClassification has no linear layer named "
        "'q_proj'; choose from dense, key, query, value"
    )


def test_a_new_embedding_is_trained_as_a_whole():
    model = bert()
    model.drawn_parameters = frozenset({"bert.embeddings.word_embeddings.weight"})
    add_lora(model, SETTINGS, seed=0)
    table = model.get_input_embeddings().weight
    assert (
        table.requires_grad and not model.bert.embeddings.position_embeddings.weight.requires_grad
    )


def test_a_router_of_experts_is_not_a_head():
    config = transformers.SwitchTransformersConfig(
        **T5, num_experts=2, num_sparse_encoder_layers=1, num_decoder_layers=1
    )
    model = transformers.SwitchTransformersForConditionalGeneration(config)
    names = [name for name, _ in model.named_parameters() if "router.classifier" in name]
    assert names and not any(in_head(model, name) for name in names)


def test_settings():
    assert get_lora_settings() is None and lora_settings(False) is None
    assert lora_settings(True) == LoraSettings(8, 16.0, 0.05)
    assert get_lora_settings(rank=4, target_modules="all-linear") == LoraSettings(4, 8.0, 0.05)
    assert get_lora_settings(rank=4, alpha=4, target_modules=["q"]).target_modules == ("q",)
    with pytest.raises(UserError, match=r"lora\.dropout: is 1; give at least 0 and less than 1"):
        get_lora_settings(rank=2, dropout=1)


def test_settings_are_read_back_or_refused(tmp_path, monkeypatch):
    assert read_lora(tmp_path) is None
    settings = LoraSettings(4, 8.0, 0.1, ("query",))
    write_lora(settings, tmp_path, base=None)
    assert read_lora(tmp_path) == settings and read_base(tmp_path) is None
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    for given, kept in (("model", str(tmp_path / "model")), ("klue/some-model",) * 2):
        write_lora(settings, tmp_path, base=given)
        assert read_lora(tmp_path) == settings and read_base(tmp_path) == kept
    for text in ("{", '{"rank": 4}', "[]", '{"rank": -1, "alpha": 1.0, "dropout": 0, '
                 '"target_modules": []}',
                 '{"rank": 2, "alpha": 1.0, "dropout": 0, "target_modules": [], "base": 3}'
                 ):  # fmt: skip
        (tmp_path / "lora.json").write_text(text)
        with pytest.raises(UserError, match="lora.json: not what this program writes; restore"):
            read_lora(tmp_path)


def test_without_peft(monkeypatch):
    monkeypatch.setattr("ke_t5.lookup.lora.find_spec", lambda name: None)
    check_lora(None)
    with pytest.raises(UserError) as error:
        check_lora(SETTINGS)
    assert str(error.value) == (
        'error: --lora: peft is not installed; run pip install "ke_t5[lora]"'
    )
