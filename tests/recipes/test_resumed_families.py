"""A resumed run ends with the weights of an uninterrupted one, for the transformers families of
Korean checkpoints: whatever their forward passes draw or keep."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
import transformers
from support.helpers import folders, task_on, toy_tokenizer

from ke_t5.distributed import Ranks
from ke_t5.models.used_rows import UsedRows
from ke_t5.pipe import EvaluationHelper, evaluate, map_over_dataset
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.model_checks import used_rows_suffice
from ke_t5.train.settings import get_fit_settings

pytestmark = pytest.mark.usefixtures("one_thread")

ALONE = Ranks(0, 1, torch.device("cpu"), 1)
# Two per batch. A short one, for which BigBird disables its sparse attention, and the longest, to
# which dynamic rotary embeddings grow, come before the checkpoint after the second.
LENGTHS = [5, 6, 62, 64, 40, 38, 6, 7, 60, 61]

WIDTH = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
ENCODER = {**WIDTH, "num_attention_heads": 2, "max_position_embeddings": 80}
DECODER = {**ENCODER, "num_key_value_heads": 1, "head_dim": 8}
T5 = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
BART = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "max_position_embeddings": 80, "bos_token_id": 2, "decoder_start_token_id": 3,
    "encoder_layerdrop": 0.5,
}  # fmt: skip
CLASSES, TEXT = "sequence_classification", "seq2seq"

# model_type -> (form, configuration).
FAMILIES = {
    "bert": (CLASSES, ENCODER),
    "roberta": (CLASSES, ENCODER),
    "xlm-roberta": (CLASSES, ENCODER),
    "electra": (CLASSES, {**ENCODER, "embedding_size": 8}),
    "albert": (CLASSES, {**ENCODER, "embedding_size": 8}),
    "distilbert": (CLASSES, {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}),
    "deberta-v2": (
        CLASSES,
        {**ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
         "position_buckets": 8, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3},
    ),
    "modernbert": (
        CLASSES, {**ENCODER, "num_hidden_layers": 3, "local_attention": 8, "mlp_dropout": 0.1},
    ),
    "big_bird": (CLASSES, {**ENCODER, "block_size": 4, "num_random_blocks": 1}),
    "longformer": (CLASSES, {**ENCODER, "attention_window": 8}),
    "funnel": (
        CLASSES, {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [1, 1]},
    ),
    "xlnet": (CLASSES, {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}),
    "rembert": (CLASSES, {**ENCODER, "input_embedding_size": 8, "output_embedding_size": 8}),
    "nystromformer": (CLASSES, {**ENCODER, "num_landmarks": 8, "segment_means_seq_len": 8}),
    "gpt2": (CLASSES, {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 80}),
    "llama": (
        CLASSES,
        {**DECODER, "max_position_embeddings": 16, "attention_dropout": 0.1,
         "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}},
    ),
    "qwen3": (CLASSES, {**DECODER, "attention_dropout": 0.1}),
    "gemma3_text": (CLASSES, {**DECODER, "sliding_window": 8, "num_hidden_layers": 2}),
    "t5": (TEXT, T5),
    "mt5": (TEXT, T5),
    "umt5": (TEXT, T5),
    "longt5": (TEXT, {**T5, "local_radius": 3, "encoder_attention_type": "transient-global"}),
    "bart": (TEXT, BART),
    "bigbird_pegasus": (TEXT, {**BART, "block_size": 4, "num_random_blocks": 1}),
}  # fmt: skip


@map_over_dataset
def to_ids(row: dict) -> dict:
    """As many pieces as the text says, and a label (a list of ids for generation)."""
    label = row["label"] + 4
    return {"input_ids": [2, *(4 + i % 14 for i in range(int(row["text"]) - 2)), 3],
            "labels": [label, 3] if row["writes"] else label - 4}  # fmt: skip


@pytest.fixture(scope="module")
def examples_of(tmp_path_factory):
    """Task and examples of each form."""
    found = {}
    for form in (CLASSES, TEXT):
        writes = form == TEXT
        rows = [{"text": str(n), "label": i % 3, "writes": writes} for i, n in enumerate(LENGTHS)]
        settings = {} if not writes else {"output_features": written_features()}
        columns = {"text": "string", "label": "int32", "writes": "bool"}
        settings["decode"] = lambda records, examples: (0, None)
        task = task_on(rows, [to_ids], form=form, columns=columns, **settings)
        path = folders(tmp_path_factory.mktemp(form))
        found[form] = task, task.get_dataset("train", folders=path)
    return found


def written_features():
    from ke_t5.pipe import IGNORED, Feature

    return {"input_ids": Feature(toy_tokenizer, pad=None),
            "labels": Feature(toy_tokenizer, pad=IGNORED)}  # fmt: skip


def model_of(model_type, form, settings):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        model_type, vocab_size=20, pad_token_id=0, eos_token_id=3, num_labels=3, **settings
    )
    auto = (transformers.AutoModelForSequenceClassification if form == CLASSES
            else transformers.AutoModelForSeq2SeqLM)  # fmt: skip
    return auto.from_config(config)


class InOrder:
    """A plan with two rows per batch, in order."""

    def num_batches(self, epoch):
        return len(LENGTHS) // 2

    def epoch(self, epoch):
        return np.arange(len(LENGTHS)).reshape(-1, 2)

    def num_tokens(self, batch):
        return np.array(LENGTHS)[batch]


def trained(model, optimizer, task, examples, *, first, last, validate_at=None):
    """Trains from one step to another, and validates after one in between."""
    state = TrainState(model, model, optimizer, lambda step: 1.0, step=first)
    helper = EvaluationHelper(task, model_fn="forward")
    for update in fit(state, examples, InOrder(), ranks=ALONE, settings=get_fit_settings(),
                      loss_reduction="rows", seed=3, num_steps=last):  # fmt: skip
        if update.step == validate_at:
            evaluate(helper, model, examples, batch_size=2, ranks=ALONE)


def disturb():
    """Seeds the generators as another process would."""
    torch.rand(7), random.random(), np.random.rand(5)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_it_resumes_to_the_same_bits(model_type, examples_of):
    form, settings = FAMILIES[model_type]
    task, examples = examples_of[form]
    model, fresh = (model_of(model_type, form, settings) for _ in range(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trained(model, optimizer, task, examples, first=0, last=2)
    saved = copy.deepcopy(model.state_dict())
    trained(model, optimizer, task, examples, first=2, last=5, validate_at=3)
    disturb()
    fresh.load_state_dict(saved)
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.5)
    trained(fresh, optimizer, task, examples, first=2, last=5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name]), name


# Families whose input embedding is also the output layer (in this configuration), or scales its
# vectors in a class of its own.
UNDIVIDED = {"t5", "mt5", "umt5", "longt5", "bart", "bigbird_pegasus", "gemma3_text"}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_used_rows_train_to_the_same_bits(model_type, examples_of):
    form, settings = FAMILIES[model_type]
    task, examples = examples_of[form]
    states = []
    for is_split in (False, True):
        model = model_of(model_type, form, settings)
        if is_split:
            try:
                used = UsedRows(model, np.arange(18))
            except ValueError:
                assert model_type in UNDIVIDED
                return
            assert used_rows_suffice(used, model, examples, ALONE.device)
            used.split()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        trained(model, optimizer, task, examples, first=0, last=4, validate_at=2)
        states.append(model.state_dict())
    assert model_type not in UNDIVIDED
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
