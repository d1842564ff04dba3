"""The model card of an exported folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.forms import FORMS
from ke_t5.own_data import own_data_of
from ke_t5.pipe import Mixture, Task
from ke_t5.report.html import number
from ke_t5.report.run_facts import is_sample_model
from ke_t5.seals import MARK
from ke_t5.task.inputs import input_form

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ke_t5.config.run_config import RunConfig


# The start of the sections that later exports add.
ADDED = "<!-- further formats -->"
# The code that uses a model, by form.
USAGE = Path(__file__).with_name("usage")


def model_card(
    config: RunConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scores: Mapping[str, float],
    settings: Mapping[str, Any],
) -> str:
    """The model card of a run: the model, its usage, its training data and its scores.

    Args:
        settings: the settings that weights and scores depend on, by flag or gin name.
    """
    return card_of(CardFacts.of_config(config), model, tokenizer, scores, settings)


@dataclass(frozen=True)
class CardFacts:
    """Facts about the training.

    Attributes:
        base: the pre-trained model; None if unknown.
        splits: the training splits and the validation splits.
    """

    task: Task | Mixture
    base: str | None = None
    from_scratch: bool = False
    is_sample: bool = False
    sources: str = "unknown data"
    splits: tuple[str, str] = ("train", "validation")
    epochs: int | None = None
    max_steps: int | None = None

    @classmethod
    def of_config(cls, config: RunConfig) -> CardFacts:
        """The facts of a configured run."""
        splits = config.splits.title("train"), config.splits.title("validation")
        return cls(
            config.task, config.model.pre_trained_model, config.model.from_scratch, config.sample,
            config.sources, splits, config.loop.epochs, config.loop.max_steps,
        )  # fmt: skip

    @classmethod
    def of_run(cls, task: Task | Mixture, run: Mapping[str, Any]) -> CardFacts:
        """The facts in a run's `run.json`."""
        splits = [*run.get("data", {}), "train", "validation"]
        return cls(
            task,
            run.get("pre_trained_model"),
            bool(run.get("from_scratch")),
            is_sample_model(run),
            run.get("source", "unknown data"),
            (splits[0], splits[1]),
            run.get("epochs"),
        )


def card_of(
    facts: CardFacts,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scores: Mapping[str, float | None],
    settings: Mapping[str, Any],
) -> str:
    """The model card with these facts; see `model_card`."""
    task = facts.task
    rows = "\n".join(f"| {name} | {number(value)} |" for name, value in scores.items())
    shape = "Trained from scratch, shaped as" if facts.from_scratch else "Fine-tuned from"
    origin = f"{shape} `{facts.base}`" if facts.base else "Fine-tuned"
    if facts.is_sample:
        origin = "A tiny model for a dry run, trained from scratch"
    name, module = type(model).__name__, type(model).__module__
    home = "transformers" if module.startswith("transformers.") else module
    form = input_form(task.members[0], tokenizer)
    inputs = f"Its inputs have the form `{json.dumps(form, ensure_ascii=False)}`.\n" if form else ""
    return f"""---
{_metadata(facts, scores)}---

# {name} for {task.name}

{origin}, on {facts.sources} ({facts.splits[0]}) with ke_t5.
{inputs}
| score on {facts.splits[1]} | x 100 |
|---|---|
{rows}

```python
from {home} import {name}
from transformers import AutoTokenizer

folder = "this folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {name}.from_pretrained(folder)
{_usage(task, form)}```

| setting | value |
|---|---|
{_table(facts, settings)}

{MARK}
"""


def _metadata(facts: CardFacts, scores: Mapping[str, object]) -> str:
    """The card's front matter, which the hub reads."""
    lines = ["language: ko", "library_name: transformers", f"license: {_license(facts)}"]
    if facts.base and not (facts.from_scratch or facts.is_sample):
        folder = Path(facts.base)
        lines.append(f"base_model: {folder.name if folder.is_dir() else facts.base}")
    pipeline = FORMS[facts.task.form].pipeline
    if pipeline is not None and _has_pipeline(pipeline):
        lines.append(f"pipeline_tag: {pipeline}")
    if own_data_of(facts.task) is None:
        lines.append(f"datasets: [{facts.sources}]")
    if scores:
        lines.append(f"metrics: [{', '.join(scores)}]")
    lines.append(f"tags: [{facts.task.name}, ke_t5]")
    return "\n".join(lines) + "\n"


def _license(facts: CardFacts) -> str:
    """The licence in the pre-trained model's card, or "unknown"."""
    card = Path(facts.base or "") / "README.md"
    if facts.base is None or facts.is_sample or not card.is_file():
        return "unknown"
    _, *parts = card.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    lines = parts[0].splitlines() if parts else []
    licenses = (line.partition(":")[2].strip() for line in lines if line.startswith("license:"))
    return next(licenses, "") or "unknown"


def _has_pipeline(name: str) -> bool:
    from transformers.pipelines import PIPELINE_REGISTRY

    return name in PIPELINE_REGISTRY.get_supported_tasks()


def _usage(task: Task | Mixture, example: Any) -> str:
    """The code that uses the model; "" if its inputs are not just texts."""
    path = USAGE / f"{task.form}.txt"
    code = path.read_text(encoding="utf-8") if path.is_file() else ""
    if "{example}" not in code:
        return code
    options = "".join(
        f", {name}={value!r}" for name, value in task.members[0].defaults.generate.items()
    )
    code = code.replace("{options}", options).replace("{threshold}", _threshold(task.members[0]))
    return "" if example is None else code.replace("{example}", repr(example))


def _threshold(task: Task) -> str:
    """The threshold of a label's score, as an expression of `label`."""
    cuts = getattr(task.decode, "keywords", {}).get("thresholds")
    if cuts is None or len(set(cuts)) == 1:
        return str(cuts[0] if cuts else 0.5)
    return f'{dict(zip(task.labels or (), cuts, strict=True))}[label["label"]]'


def _table(facts: CardFacts, settings: Mapping[str, Any]) -> str:
    """The table of settings, without those that only resuming needs."""
    shown = {"epochs": facts.epochs, "--max_steps": facts.max_steps, **settings}
    return "\n".join(
        f"| {name} | {value} |"
        for name, value in shown.items()
        if value is not None and not name.endswith("data")
    )


def with_sections(card: str, sections: Sequence[str]) -> str:
    """The card with these sections at its end, instead of those of an earlier export."""
    body = card.replace(MARK, "").partition(f"\n{ADDED}\n")[0].rstrip()
    if not sections:
        return f"{body}\n\n{MARK}\n"
    return "\n".join([body, "", ADDED, *sections, MARK, ""])
