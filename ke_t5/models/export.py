"""Exports: folders that transformers reads, with weights, tokenizer and model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ke_t5.errors import Exit, UserError
from ke_t5.fault_points import fault_point
from ke_t5.files import new_folder
from ke_t5.lookup.families import takes_segments
from ke_t5.lookup.hub import check_replaceable
from ke_t5.lookup.task_record import TaskRecord
from ke_t5.models.build import quiet
from ke_t5.seals import CARD, class_title, seal_folder


def export(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    card: str,
    record: TaskRecord | None = None,
    add: Callable[[Path], None] | None = None,
) -> Path:
    """The folder, written under a temporary name, sealed, verified by reading it back, and renamed.

    Args:
        folder: replaced if it already contains an export; its parents are created.
        card: the text of README.md.
        record: the folder's record of the task.
        add: adds further files to the folder before it is sealed.

    Raises:
        UserError: the folder contains something else, or the files differ from the model.
    """
    folder = Path(folder)
    check_replaceable(folder)
    with new_folder(folder, is_durable=True) as temporary, quiet():
        model.save_pretrained(temporary)
        save_configuration(model, tokenizer, temporary)
        _leave_out_segments(model, temporary / "tokenizer_config.json")
        (temporary / CARD).write_text(card, encoding="utf-8")
        if record is not None:
            record.write(temporary)
        if add is not None:
            add(temporary)
        seal_folder(temporary, model_class=class_title(type(model)))
        _check_copy(model, temporary, folder)
        fault_point("export.before_rename")
    fault_point("export.after_rename")
    return folder


def save_configuration(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Writes the configuration and the tokenizer."""
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_tying(model, folder / "config.json")


def _write_tying(model: PreTrainedModel, path: Path) -> None:
    """Writes `tie_word_embeddings: false` to config.json if head and embedding differ.

    transformers 5 writes true for every T5; an older version would then tie T5 v1.1's separate
    head.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or embedding is None or head.weight is embedding.weight:
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tie_word_embeddings"] = False
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _leave_out_segments(model: PreTrainedModel, path: Path) -> None:
    """Keeps the tokenizer from returning segment ids if the model was trained without them.

    KLUE's RoBERTa has a BERT tokenizer, whose second segment is out of the embedding's range.
    """
    if takes_segments(model) or not path.is_file():
        return
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _check_copy(model: PreTrainedModel, temporary: Path, folder: Path) -> None:
    copy = type(model).from_pretrained(
        temporary, dtype=model.dtype, local_files_only=True, trust_remote_code=False
    )
    written, kept = copy.state_dict(), model.state_dict()
    different = sorted(written.keys() ^ kept.keys())
    different += [
        name
        for name, tensor in kept.items()
        if name in written and not _same_bytes(tensor.cpu(), written[name])
    ]
    if different:
        raise UserError(
            f"tensors differ when read back: {', '.join(different[:4])}",
            f"--hf_path {folder}",
            "the folder was left unchanged; please report the model class",
            Exit.CHECKPOINT,
        )


def _same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    # As bytes, because a NaN differs from itself.
    views = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*views)
