"""`ke-t5 inspect`: inspects the data of a training without training."""

from __future__ import annotations

import json
import logging
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace

from ke_t5.config.run_config import RunConfig
from ke_t5.errors import UserError
from ke_t5.inspection.duplicates import find_duplicates
from ke_t5.inspection.facts import facts_of, texts_of
from ke_t5.inspection.sections import Inspection, as_json, findings, sections_of
from ke_t5.lookup.hub import find_pretrained
from ke_t5.pipe import Task, get_dataset
from ke_t5.pipe.splits import default_split
from ke_t5.recipes import console
from ke_t5.recipes.early_checks import check_lengths, check_splits
from ke_t5.recipes.folders import check_page, write_page
from ke_t5.recipes.model_origin import use_tokenizer
from ke_t5.recipes.prepare import prepare
from ke_t5.recipes.task_splits import TaskSplit
from ke_t5.recipes.train import choose_model
from ke_t5.report.pages import page_of, text_of
from ke_t5.task.utils import get_vocabulary

logger = logging.getLogger(__name__)

PURPOSES = ("train", "validation", "test")


def main(flags: Namespace, *, as_json_text: bool, page: str | None) -> None:
    """Inspects the splits that a training with these flags would read, and the test split.

    Args:
        flags: the flags of a training.
        as_json_text: whether to print JSON instead of text.
        page: the path of an HTML page to write.
    """
    config = prepare(flags)
    check_page(page)
    check_splits(config)
    config = with_tokenizer(config)
    check_lengths(config)
    all_found = [inspect(config, task) for task in config.task.members]
    if as_json_text:
        content = [as_json(found) for found in all_found]
        console.tell(json.dumps(content, ensure_ascii=False, indent=2))
    else:
        for found in all_found:
            console.tell("\n".join([_title(found), *findings(found)]))
            console.tell(text_of(sections_of(found, on_page=False)))
    if page:
        write_page(page, page_text(all_found))
    if not as_json_text:
        console.tell(f"{sum(found.seconds for found in all_found):.1f} s")


def _title(found: Inspection) -> str:
    return f"{found.task} with the tokenizer of {found.tokenizer}"


def page_text(all_found: Sequence[Inspection]) -> str:
    """The page of the inspected tasks; those of a mixture are told apart by their names."""
    if len(all_found) == 1:
        (found,) = all_found
        summary = "; ".join(findings(found))
        return page_of(_title(found), summary, sections_of(found, on_page=True))
    sections = [
        replace(section, title=f"{found.task}: {section.title}")
        for found in all_found
        for section in sections_of(found, on_page=True)
    ]
    names = ", ".join(found.task for found in all_found)
    summary = "; ".join(f"{found.task}: {line}" for found in all_found for line in findings(found))
    return page_of(f"{names} with the tokenizer of {all_found[0].tokenizer}", summary, sections)


def with_tokenizer(config: RunConfig) -> RunConfig:
    """The configuration with the tokenizer that a training would use; `--sample` needs no trained
    model for it."""
    if not config.sample:
        return choose_model(config)
    from ke_t5.sample import sample_model_dir

    kind = "t5" if "T5" in config.model.class_name else "roberta"
    folder = sample_model_dir(config.data.folders.cache, kind)
    find_pretrained(folder, where="--sample")
    return use_tokenizer(config, folder, flag="--sample")


def inspect(config: RunConfig, task: Task) -> Inspection:
    """Inspects the splits of a task."""
    started = time.monotonic()
    parts = []
    for split in splits_of(config, task):
        logger.info("%s %s: preparing", task.name, split)
        data = config.data
        examples = get_dataset(task, split, folders=data.folders, sequence_length=data.lengths)
        parts.append(TaskSplit(task, split, examples, split))
    logger.info("%s: looking for duplicates", task.name)
    texts = [texts_of(part) for part in parts]
    duplicates = find_duplicates(texts)
    lengths = {**task.defaults.sequence_length, **(config.data.lengths or {})}
    facts = [
        facts_of(part, own, lengths, bounds=i > 0 or len(parts) == 1)
        for i, (part, own) in enumerate(zip(parts, texts, strict=True))
    ]
    name = "the sample" if config.sample else get_vocabulary().name_or_path
    return Inspection(task.name, name, facts, duplicates, time.monotonic() - started)


def splits_of(config: RunConfig, task: Task) -> list[str]:
    """The splits to inspect: those that the flags name, or the task's own, as far as they exist.

    Raises:
        UserError: there are none.
    """
    asked, folders = config.data.asked_splits, config.data.folders
    found: list[str] = []
    missing: UserError | None = None
    for purpose in PURPOSES:
        given = asked.get(purpose)
        try:
            split = given or default_split(task.source, folders, purpose)
        except UserError as error:  # such as a release with only some of its files
            missing = error
            known = task.source.splits(folders)
            split = known[0] if known and not found else None
        if split is not None and split not in found:
            found.append(split)
    if not found:
        assert missing is not None
        raise missing
    return found
