"""The model card of an exported folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.forms import FORMS
from ke_t5.own_data import own_data_of
from ke_t5.seals import MARK
from ke_t5.task.inputs import input_form

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ke_t5.config.run_config import RunConfig


# How a model of each form is used: code by the form's name.
USAGE = Path(__file__).with_name("usage")


def model_card(
    config: RunConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scores: Mapping[str, float],
    settings: Mapping[str, Any],
) -> str:
    """What the model is, how it is used, what it was trained on and how well it did.

    Args:
        settings: what weights and scores depend on, by flag or gin name.
    """
    task = config.task
    rows = "\n".join(f"| {name} | {value:.2f} |" for name, value in scores.items())
    base = f"`{config.model.pre_trained_model}`"
    origin = (
        f"Trained from scratch, shaped as {base}"
        if config.model.from_scratch
        else f"Fine-tuned from {base}"
    )
    if config.sample:
        origin = "A tiny model for a dry run, trained from scratch"
    name, module = type(model).__name__, type(model).__module__
    home = "transformers" if module.startswith("transformers.") else module
    form = input_form(task.members[0], tokenizer)
    inputs = f"Its inputs have the form `{json.dumps(form, ensure_ascii=False)}`.\n" if form else ""
    return f"""---
{_metadata(config, scores)}---

# {name} for {task.name}

{origin}, on {config.sources} ({config.splits.title("train")}) with ke_t5.
{inputs}
| score on {config.splits.title("validation")} | x 100 |
|---|---|
{rows}

```python
from {home} import {name}
from transformers import AutoTokenizer

folder = "this folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {name}.from_pretrained(folder)
{_usage(config, form)}```

| setting | value |
|---|---|
{_table(config, settings)}

{MARK}
"""


def _metadata(config: RunConfig, scores: Mapping[str, float]) -> str:
    """The card's front matter, as the hub reads it."""
    lines = ["language: ko", "library_name: transformers", f"license: {_license(config)}"]
    if not (config.model.from_scratch or config.sample):
        folder = Path(config.model.pre_trained_model)
        lines.append(
            f"base_model: {folder.name if folder.is_dir() else config.model.pre_trained_model}"
        )
    pipeline = FORMS[config.task.form].pipeline
    if pipeline is not None and _has_pipeline(pipeline):
        lines.append(f"pipeline_tag: {pipeline}")
    if own_data_of(config.task) is None:
        lines.append(f"datasets: [{config.sources}]")
    if scores:
        lines.append(f"metrics: [{', '.join(scores)}]")
    lines.append(f"tags: [{config.task.name}, ke_t5]")
    return "\n".join(lines) + "\n"


def _license(config: RunConfig) -> str:
    """What the card of the pre-trained model says, else "unknown"."""
    card = Path(config.model.pre_trained_model) / "README.md"
    if config.sample or not card.is_file():
        return "unknown"
    _, *parts = card.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    lines = parts[0].splitlines() if parts else []
    licenses = (line.partition(":")[2].strip() for line in lines if line.startswith("license:"))
    return next(licenses, "") or "unknown"


def _has_pipeline(name: str) -> bool:
    from transformers.pipelines import PIPELINE_REGISTRY

    return name in PIPELINE_REGISTRY.get_supported_tasks()


def _usage(config: RunConfig, example: Any) -> str:
    """The code that uses the model; "" if the task's rows are more than texts."""
    path, task = USAGE / f"{config.task.form}.txt", config.task.members[0]
    code = path.read_text(encoding="utf-8") if path.is_file() else ""
    if "{example}" not in code:
        return code
    options = "".join(f", {name}={value!r}" for name, value in task.defaults.generate.items())
    code = code.replace("{options}", options)
    return "" if example is None else code.replace("{example}", repr(example))


def _table(config: RunConfig, settings: Mapping[str, Any]) -> str:
    """What weights and scores depend on, without what only a resumption needs."""
    epochs = config.loop.epochs
    shown = {"epochs": epochs, "--max_steps": config.loop.max_steps, **settings}
    return "\n".join(
        f"| {name} | {value} |"
        for name, value in shown.items()
        if value is not None and not name.endswith("data")
    )
