"""A small pre-trained model with weights, for the sample's data."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from ke_t5.sample import sample_model_dir


def write_base(folder: Path, cache: Path) -> Path:
    """A RoBERTa with dropout and the sample's tokenizer."""
    shutil.copytree(sample_model_dir(cache, "roberta"), folder)
    (folder / "MANIFEST.json").unlink(missing_ok=True)
    config = AutoConfig.from_pretrained(folder)
    assert config.hidden_dropout_prob > 0
    torch.manual_seed(3)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    return folder
