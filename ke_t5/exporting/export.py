"""`ke-t5 export`: writes a run's checkpoint, or an exported folder, in other formats."""

from __future__ import annotations

import copy
import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.config.resume import BEST, LAST, ResumeRequest
from ke_t5.errors import Exit, UserError
from ke_t5.exporting.hub import check_push, push
from ke_t5.exporting.onnx_graph import check_onnx, write_onnx
from ke_t5.exporting.translator import check_ctranslate2, write_ctranslate2
from ke_t5.files import new_folder
from ke_t5.lookup.hub import ADAPTER, check_replaceable
from ke_t5.lookup.loader import import_module, see_current_folder
from ke_t5.lookup.lora import read_base, read_lora
from ke_t5.lookup.task_record import read_record
from ke_t5.report.model_card import CardFacts, card_of, with_sections
from ke_t5.seals import CARD, MANIFEST, seal_folder
from ke_t5.serving.loading import Found, find_model, load_predictor, place_of, run_facts
from ke_t5.task.inputs import input_form
from ke_t5.task.utils import get_vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ke_t5.serving.predictor import Predictor

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def main(flags: Namespace, target: Path) -> None:
    """Writes the folder `target`, and prints its path."""
    see_current_folder()
    for module in flags.module_import:
        import_module(module, where="--module_import")
    if flags.push_to_hub:
        check_push(flags.push_to_hub)
    flag = "--run" if flags.run else "--hf_path"
    source = Path(flags.run or flags.hf_path)
    found = find_model(source, flag=flag)
    resume = _resume_of(found, flags.resume)
    predictor = load_predictor(
        source, task=flags.task, model_name=flags.model_name, resume=resume, device="cpu",
        precision="fp32", flag=flag,
    )  # fmt: skip
    model, form = predictor.model, predictor.task.form
    if flags.onnx:
        check_onnx(model, form)
    if flags.ctranslate2:
        check_ctranslate2(model, form)
    card = _card(found, predictor, resume)
    if flags.adapter:
        _write_adapter(found, model, target, card=card)
    else:
        merge(model)
        narrow(model, flags.safetensors_dtype)
        write(found, predictor, target, card=card, more=_more(flags, model, form))
    sys.stdout.write(f"{target}\n")
    if flags.push_to_hub:
        address = push(target, flags.push_to_hub, is_public=flags.public)
        sys.stdout.write(f"pushed to {address}\n")


def target_of(flags: Namespace) -> Path:
    """The folder to write: `--output`, by default `hf` in the run, as for `--hf_path default`.

    Raises:
        UserError: no folder is given, or it contains files that must not be replaced.
    """
    if flags.output is None and flags.hf_path:
        raise UserError("no output folder", "ke-t5 export", "add --output DIR")
    source = Path(flags.run or flags.hf_path)
    target = Path(flags.output) if flags.output else source / "hf"
    if source.resolve().is_relative_to(target.resolve()):
        what = "it contains the model to export"
        raise UserError(what, f"--output {target}", "choose another folder", Exit.CHECKPOINT)
    is_default = bool(flags.run) and target.resolve() == (source / "hf").resolve()
    what = None
    if target.resolve().is_relative_to(source.resolve()) and not is_default:
        what = "it is inside the model to export"
    elif flags.run and _starts_from(source, target):
        what = "the run starts from this model"
    elif _has_model(target) and not (target / MANIFEST).is_file():
        what = "it contains a model that was not exported by ke_t5"
    elif not is_default and _task_of(target) not in (None, _task_of(source)):
        what = f"it contains an export of {_task_of(target)}"
    if what is not None:
        raise UserError(what, f"--output {target}", "choose a new folder", Exit.CHECKPOINT)
    check_replaceable(target, flag="--output")
    return target


def _starts_from(run: Path, folder: Path) -> bool:
    """Whether a folder contains a run's pre-trained model or the base model of its adapters."""
    names = (run_facts(run).get("pre_trained_model"), read_base(run / "model"))
    return any(
        isinstance(name, str) and Path(name).expanduser().resolve() == folder.resolve()
        for name in names
    )


def _task_of(folder: Path) -> str | None:
    """The task of a run or an export; None if it is not recorded."""
    record = read_record(folder)
    return record.task if record else run_facts(folder).get("task")


def _has_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", ADAPTER))


def _resume_of(found: Found, given: ResumeRequest | None) -> ResumeRequest | None:
    if found.run is None:
        return given
    return given or (BEST if (found.run / "weights" / "best.json").exists() else LAST)


def narrow(model: PreTrainedModel, dtype: str | None) -> None:
    """Casts the weights to a data type of `DTYPES`; None leaves them as they are.

    Raises:
        UserError: a weight is too large for the type.
    """
    import torch

    if dtype is None:
        return
    exact = {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if dtype == "fp16" and _stays_exact(model, name)
    }
    torch.nn.Module.to(model, getattr(torch, DTYPES[dtype]))
    for name, parameter in model.named_parameters():
        if name in exact:
            parameter.data = exact[name]
    if not all(map(_is_finite, model.parameters())):
        where = f"--safetensors_dtype {dtype}"
        raise UserError("a weight is too large for it", where, "use bf16", Exit.CHECKPOINT)


def _stays_exact(model: PreTrainedModel, name: str) -> bool:
    """Whether transformers keeps a parameter in float32 when the others are float16; T5's `wo`
    would overflow."""
    exact = {*(model._keep_in_fp32_modules or ())}
    return not exact.isdisjoint(name.split("."))


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _more(flags: Namespace, model: PreTrainedModel, form: str) -> list[Callable[[Path], str]]:
    """The functions that add further formats to the folder of the export, and return a section of
    its card."""
    more: list[Callable[[Path], str]] = []
    if flags.onnx:
        columns = get_vocabulary().model_input_names
        more.append(lambda folder: write_onnx(model, form, folder, columns_of_tokenizer=columns))
    if flags.ctranslate2:
        exact = copy.deepcopy(model).float()
        more.append(lambda folder: write_ctranslate2(exact, get_vocabulary(), folder))
    return more


def merge(model: PreTrainedModel) -> None:
    """Merges the adapters of `--lora`, if there are any, into the weights."""
    from ke_t5.models.lora import merge_lora

    merge_lora(model)


def _write_adapter(found: Found, model: PreTrainedModel, target: Path, *, card: str) -> None:
    """Writes the adapters of a run as a folder for peft.

    Raises:
        UserError: the model has no adapters.
    """
    from ke_t5.models.lora import write_adapter

    if found.run is None or read_lora(found.folder) is None:
        what, fix = "it was not trained with --lora", "drop --adapter"
        raise UserError(what, place_of(found), fix, Exit.CHECKPOINT)
    base = run_facts(found.run).get("pre_trained_model")
    with new_folder(target, is_durable=True) as folder:
        write_adapter(model, folder, base=base)
        get_vocabulary().save_pretrained(folder)
        (folder / CARD).write_text(card, encoding="utf-8")
        seal_folder(folder)


def write(
    found: Found,
    predictor: Predictor,
    target: Path,
    *,
    card: str,
    more: list[Callable[[Path], str]],
) -> None:
    """Writes the export; if that fails, the folder stays as it was."""
    from ke_t5.models.export import export

    def add(folder: Path) -> None:
        sections = [make(folder) for make in more]
        (folder / CARD).write_text(with_sections(card, sections), encoding="utf-8")

    export(
        predictor.model, get_vocabulary(), target, card=card, record=found.record,
        add=add if more else None,
    )  # fmt: skip


def _card(found: Found, predictor: Predictor, resume: ResumeRequest | None) -> str:
    """The text of the model card: the export's own, or one from the records of the run."""
    task, model, tokenizer = predictor.task, predictor.model, get_vocabulary()
    if found.run is None:
        own = found.folder / CARD
        if own.is_file():
            return with_sections(own.read_text(encoding="utf-8", errors="replace"), [])
        return card_of(CardFacts(task), model, tokenizer, {}, {})
    from ke_t5.checkpoint.checkpoints import find_checkpoint, read_run_progress
    from ke_t5.checkpoint.closing import best_of

    form = input_form(task, tokenizer)
    if form is not None:
        model.config.task_specific_params = {task.name: {"input": form}}
    checkpoint = find_checkpoint(found.run / "weights", resume or LAST)
    assert checkpoint is not None  # only `auto` may find none
    progress = read_run_progress(checkpoint)
    best = best_of(progress)
    is_best = best is not None and best["step"] == progress["step"]
    scores = best["scores"] if best and is_best else {}
    run = json.loads((found.run / "run.json").read_text(encoding="utf-8"))
    return card_of(CardFacts.of_run(task, run), model, tokenizer, scores, progress["fixed"])
