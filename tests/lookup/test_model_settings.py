"""gin's `model`: the user's changes to a model's configuration."""

from __future__ import annotations

import pytest
import transformers

from ke_t5.errors import UserError
from ke_t5.lookup.settings import change_config, get_model_config
from ke_t5.models.configs import EncoderConfig

KINDS = {
    "BertConfig": {"hidden_dropout_prob", "attention_probs_dropout_prob"},
    "T5Config": {"dropout_rate", "classifier_dropout"},
    "BartConfig": {"dropout", "attention_dropout", "activation_dropout", "classifier_dropout"},
    "DistilBertConfig": {"dropout", "attention_dropout", "qa_dropout", "seq_classif_dropout"},
    "GPT2Config": {"resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout"},
    "ModernBertConfig": {"embedding_dropout", "mlp_dropout", "attention_dropout"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_dropouts_at_once(kind):
    config = getattr(transformers, kind)()
    before = config.to_dict()
    change_config(config, get_model_config(dropout=0.25))
    changed = {name: x for name, x in config.to_dict().items() if x != before[name]}
    assert changed.keys() >= KINDS[kind] and {*changed.values()} == {0.25}
    assert all("drop" in name for name in changed)


def test_a_name_is_stronger_than_all_dropouts():
    config = transformers.BertConfig()
    change_config(config, get_model_config({"hidden_dropout_prob": 0.3}, dropout=0))
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.3, 0.0)
    assert config.classifier_dropout is None  # None: as hidden_dropout_prob


def test_dropouts_of_the_configurations_within():
    config = EncoderConfig(backbone=transformers.BertConfig())
    change_config(config, get_model_config(dropout=0.0))
    assert config.backbone.hidden_dropout_prob == config.dropout_rate == 0.0
    config = transformers.T5GemmaConfig()
    change_config(config, get_model_config(dropout=0.5))
    assert config.encoder.dropout_rate == config.decoder.attention_dropout == 0.5


@pytest.mark.parametrize("kind", ["GPT2Config", "FunnelConfig", "LlamaConfig", "MambaConfig"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_dropout_of_a_head_whose_encoder_has_none_of_its_names(kind, dropout, tmp_path):
    config = EncoderConfig(backbone=getattr(transformers, kind)())
    assert config.dropout_rate == 0.1
    change_config(config, get_model_config(dropout=dropout))
    config.save_pretrained(tmp_path)
    assert EncoderConfig.from_pretrained(tmp_path).dropout_rate == config.dropout_rate == dropout


def test_a_model_without_dropout():
    config = transformers.MambaConfig()
    change_config(config, get_model_config(dropout=0.0))
    with pytest.raises(UserError, match="model.dropout: MambaConfig has no dropout; drop it"):
        change_config(config, get_model_config(dropout=0.1))


def test_a_dropout_is_a_share():
    with pytest.raises(UserError, match="model.dropout: is 2; give at least 0 and at most 1"):
        get_model_config(dropout=2)
