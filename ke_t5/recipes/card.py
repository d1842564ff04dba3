"""The model card of an exported folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ke_t5.recipes.job import Job

# The pipeline of transformers that serves a form, for the card's metadata.
PIPELINES = {
    "sequence_classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
    "seq2seq": "text-generation",
}

# How a model that tags characters is asked: no pipeline knows it.
ASK_FOR_CHARACTERS = """
import torch
from ke_t5.task.spans import character_tokens

text = "김민수는 서울에 산다."
inputs = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
offsets = inputs.pop("offset_mapping")[0].tolist()
tokens = torch.tensor([character_tokens(text, offsets)])
logits = model(**inputs, character_token_idx=tokens).logits
tags = logits[0] if isinstance(logits, list) else logits[0].argmax(-1).tolist()
print([(character, model.config.id2label[tag]) for character, tag in zip(text, tags)])
"""


def model_card(job: Job, model: PreTrainedModel, scores: Mapping[str, float]) -> str:
    """What the model is, what it was trained on and how well it did, as the hub reads it."""
    task, flags = job.task, job.flags
    rows = "\n".join(f"| {name} | {value:.2f} |" for name, value in scores.items())
    pipeline = PIPELINES.get(task.form)
    base = f"`{flags.pre_trained_model}`"
    origin = (
        f"Trained from scratch, shaped as {base}"
        if flags.from_scratch
        else f"Fine-tuned from {base}"
    )
    if flags.sample:
        origin = "A tiny model for a dry run, trained from scratch"
    tag = f"pipeline_tag: {pipeline}\n" if pipeline else ""
    name = type(model).__name__
    module = type(model).__module__
    home = "transformers" if module.startswith("transformers.") else module
    usage = ASK_FOR_CHARACTERS if task.form == "character_tagging" else ""
    return f"""---
language: ko
library_name: transformers
{tag}tags: [{task.name}, ke_t5]
---

# {name} for {task.name}

{origin}, on {job.sources()} ({flags.train_split}) with ke_t5.

| score on {flags.valid_split} | x 100 |
|---|---|
{rows}

```python
from {home} import {name}
from transformers import AutoTokenizer

folder = "this folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {name}.from_pretrained(folder)
{usage}```
"""
