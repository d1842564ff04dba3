"""LoRA by peft: low-rank adapters on the linear layers of a model's body.

The adapters are injected into the model, which keeps its class: heads, generation and checkpoints
work as usual. Everything outside the pretrained body is trained in full.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ke_t5.errors import UserError
from ke_t5.lookup.lora import LoraSettings, check_lora
from ke_t5.models.account import in_head

# peft's default adapter name, which its files omit.
NAME = "default"
# Part of the class name, ours or transformers' -> peft's task type.
TASKS = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}


def add_lora(model: PreTrainedModel, settings: LoraSettings, *, seed: int) -> str:
    """Injects adapters into the model and freezes the rest except the head; a line about it.

    Raises:
        UserError: peft is missing, or no layer matches `target_modules`.
    """
    check_lora(settings)
    from peft import inject_adapter_in_model

    drawn = getattr(model, "drawn_parameters", None) or ()
    names = target_layers(model, settings)
    heads = {name for name, _ in model.named_parameters() if name in drawn or in_head(model, name)}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)
        inject_adapter_in_model(_peft_config(model, settings, names), model)
    for name, parameter in model.named_parameters():
        is_adapter = ".lora_" in name
        parameter.requires_grad_(is_adapter or name.replace(".base_layer.", ".") in heads)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(size for size, is_trained in sizes if is_trained)
    total = sum(size for size, _ in sizes)
    return (
        f"LoRA of rank {settings.rank} beside {len(names)} layers: {trained:,} of {total:,} "
        f"parameters are trained ({trained / total:.2%})"
    )


def target_layers(model: PreTrainedModel, settings: LoraSettings) -> list[str]:
    """The names of the layers that get adapters: linear layers of the body.

    Raises:
        UserError: there is none.
    """
    output = model.get_output_embeddings()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not output
        and not in_head(model, f"{name}.weight")
    ]
    if not settings.target_modules:
        return linear
    unknown = [end for end in settings.target_modules if not any(_ends(n, end) for n in linear)]
    if unknown or not linear:
        known = sorted({name.rpartition(".")[2] for name in linear})
        what = f"{type(model).__name__} has no linear layer named {unknown[0]!r:.40}"
        raise UserError(what, "lora.target_modules", f"choose from {', '.join(known)}")
    return [n for n in linear if any(_ends(n, end) for end in settings.target_modules)]


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _peft_config(model: PreTrainedModel, settings: LoraSettings, names: list[str]) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # pyright: ignore[reportArgumentType] - a float is fine
        lora_dropout=settings.dropout,
        target_modules=names,
        fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in names),
    )


def has_lora(model: nn.Module) -> bool:
    """Whether there are adapters in the model."""
    return any(".lora_" in name for name, _ in model.named_parameters())


def merge_lora(model: nn.Module) -> None:
    """Merges the adapters into their layers, which leaves a plain model."""
    if not has_lora(model):
        return
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, module.get_base_layer())


def write_adapter(model: PreTrainedModel, folder: Path, *, base: str | None) -> None:
    """Writes the adapters and the head in peft's format, for `PeftModel.from_pretrained`.

    Args:
        base: the hub name or folder of the model that the adapters belong to.
    """
    weights, heads = {}, set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = name.replace(f".{NAME}.", ".")
            weights[f"base_model.model.{plain}"] = parameter.detach().cpu().contiguous()
            if ".lora_" not in name:
                heads.add(name.rpartition(".")[0])
    config: Any = vars(model)["peft_config"][NAME]  # where peft leaves it
    name = type(model).__name__
    config.task_type = next((task for end, task in TASKS.items() if end in name), None)
    config.modules_to_save, config.base_model_name_or_path = sorted(heads) or None, base
    config.inference_mode = True
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    values = {key: sorted(x) if isinstance(x, set) else x for key, x in config.to_dict().items()}
    text = json.dumps(values, indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
