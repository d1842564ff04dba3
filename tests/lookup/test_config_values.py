"""Invalid values in a configuration are reported with their file before torch is imported."""

import json
import re

import pytest

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.config_values import check_config_values
from ke_t5.lookup.hub import find_pretrained

FILE = "model/config.json"


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"hidden_size": 0}, "hidden_size is 0; give 1 or more"),
        ({"hidden_size": -16}, "hidden_size is -16; give 1 or more"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1; give 1 or more"),
        ({"num_layers": 10**9}, "num_layers is 1000000000; give at most 1000"),
        ({"type_vocab_size": 0}, "type_vocab_size is 0; give 1 or more"),
        ({"num_decoder_layers": -1}, "num_decoder_layers is -1; give 0 or more"),
        ({"relative_attention_num_buckets": 0}, "relative_attention_num_buckets is 0; give 4 or"),
        ({"hidden_dropout_prob": 5}, "hidden_dropout_prob is 5; give a number from 0 to 1"),
        ({"dropout_rate": -0.1}, "dropout_rate is -0.1; give a number from 0 to 1"),
        ({"decoder_start_token_id": -1}, "decoder_start_token_id is -1; give the id of a token"),
        ({"decoder_start_token_id": "글"}, "decoder_start_token_id is '글'; give the id of"),
        (
            {"decoder_start_token_id": 9, "vocab_size": 9},
            "decoder_start_token_id is 9; give the id of a token",
        ),
        ({"quantization_config": "글"}, "quantization_config is '글'; give a JSON object"),
        ({"architectures": 5}, "architectures is 5; give a list of names"),
        ({"problem_type": "글"}, "problem_type is '글'; give one of regression, single_label_"),
        ({"return_dict": False}, "return_dict is False; give true"),
        ({"text_config": 5}, "text_config is 5; give a JSON object"),
        ({"text_config": {}}, "text_config is {}; give a JSON object with values"),
        ({"backbone": {"encoder": {}}}, "backbone.encoder is {}; give a JSON object with values"),
        ({"backbone": {"num_heads": 0}}, "backbone.num_heads is 0; give 1 or more"),
    ],
)
def test_a_value_that_no_model_can_have(config, line):
    with pytest.raises(UserError, match=f"^error: {FILE}: {re.escape(line)}") as told:
        check_config_values(config, FILE)
    assert told.value.exit_code == Exit.CHECKPOINT
    assert str(told.value).endswith(", or download it again")


@pytest.mark.parametrize(
    "config",
    [
        {"num_decoder_layers": 0, "decoder_start_token_id": None, "architectures": None},
        {"type_vocab_size": 0, "model_type": "deberta-v2", "max_relative_positions": -1},
        {"quantization_config": None, "hidden_dropout_prob": 0, "dropout_rate": 1},
        {"hidden_size": "many", "num_layers": None},  # transformers checks types
    ],
)
def test_values_of_real_models(config):
    check_config_values(config, FILE)


def test_a_folder_is_checked_when_it_is_found(tmp_path):
    config = {"model_type": "bert", "num_hidden_layers": 0}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=f"{tmp_path}/config.json: num_hidden_layers is 0"):
        find_pretrained(tmp_path)
