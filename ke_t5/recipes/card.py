"""The model card of an exported folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ke_t5.recipes.job import Job

# The pipeline of transformers that serves a form, for the card's metadata.
PIPELINES = {
    "sequence_classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
    "seq2seq": "text-generation",
}


def model_card(job: Job, scores: Mapping[str, float]) -> str:
    """What the model is, what it was trained on and how well it did, as the hub reads it."""
    task, flags = job.task, job.flags
    rows = "\n".join(f"| {name} | {value:.2f} |" for name, value in scores.items())
    needs = "" if job.is_plain_transformers() else "import ke_t5.models  # registers the class\n"
    pipeline = PIPELINES.get(task.form)
    tag = f"pipeline_tag: {pipeline}\n" if pipeline else ""
    return f"""---
language: ko
library_name: transformers
{tag}tags: [{task.name}, ke_t5]
---

# {job.class_name} for {task.name}

Fine-tuned from `{flags.pre_trained_model}` on {task.source.name} ({flags.train_split}) with ke_t5.

| score on {flags.valid_split} | x 100 |
|---|---|
{rows}

```python
{needs}from {job.class_module()} import {job.class_name}

model = {job.class_name}.from_pretrained("this folder")
```
"""
