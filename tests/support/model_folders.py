"""Small model folders as users have them, and how tests build models from them."""

from __future__ import annotations

import json

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from ke_t5.lookup.loader import load_model
from ke_t5.models.build import build_model, quiet

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


def write_v11(folder):
    """A folder with the configuration of a T5 v1.1, and no weights."""
    folder.mkdir()
    config = {"model_type": "t5", **T5_V11, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_bert(folder):
    """A folder with a masked language model."""
    torch.manual_seed(0)
    with quiet():
        BertForMaskedLM(BertConfig(**BERT_SIZES)).save_pretrained(folder)
    return folder


def edit_weights(folder, change):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def edit_config(folder, change):
    """Changes a folder's configuration."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
