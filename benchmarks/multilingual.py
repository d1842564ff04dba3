"""Our training of an encoder with a multilingual vocabulary, compared with the Trainer."""

from __future__ import annotations

from functools import partial

import torch
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from benchmarks.rows import ALL_ROWS, TRAINER, Runs, Setting
from benchmarks.training import EncoderRuns, fit_ours, fit_trainer
from ke_t5.train.settings import ALL

RATE, NUM_ROWS = 1e-4, 1600


def new_multilingual(setting: Setting, seed: int) -> XLMRobertaForSequenceClassification:
    """XLM-R in the shape of multilingual-e5-small, initialized with the seed."""
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=250_002, hidden_size=384, num_hidden_layers=12, num_attention_heads=12,
        intermediate_size=1536, max_position_embeddings=514, pad_token_id=0,
    )  # fmt: skip
    config.num_labels = 7
    return XLMRobertaForSequenceClassification(config)


def training(setting: Setting, precision: str = "fp32") -> dict[str, Runs]:
    """Ours with the used rows of the embedding and with all, and the Trainer."""
    runs = EncoderRuns(setting, NUM_ROWS, new_multilingual)
    ours = partial(fit_ours, precision=precision, learning_rate=RATE)
    theirs = partial(fit_trainer, precision=precision, learning_rate=RATE)
    return runs.compare({
        "ours": (ours, runs.train),
        TRAINER: (theirs, runs.table),
        ALL_ROWS: (partial(ours, embedding_rows=ALL), runs.train),
    })  # fmt: skip


def training_bf16(setting: Setting) -> dict[str, Runs]:
    """The same in bf16."""
    return training(setting, "bf16")
