"""`ke-t5 export`: exports a trained model, also in reduced precision, as ONNX or CTranslate2."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, add_module_import, typed
from ke_t5.commands.trained_model import check_model_flags
from ke_t5.config.flags import path, repository, resume, text
from ke_t5.errors import UserError

DESCRIPTION = """\
Writes a trained model as a folder in Hugging Face's layout, with tokenizer and model card.

  ke-t5 export --run output/T5.../klue_tc --output my_model --safetensors_dtype bf16
  ke-t5 export --hf_path my_model --output my_onnx_model --onnx

The outputs of --onnx and --ctranslate2 are compared with the model's; if they differ,
nothing is written."""


def parser() -> ArgumentParser:
    """The parser of the command line."""
    words = Parser("export", DESCRIPTION)
    words.set_defaults(command="export")
    words.add_argument("--run", metavar="DIR", type=typed(path), help="the folder of a run")
    words.add_argument(
        "--resume", metavar="best|true|PATH", type=typed(resume),
        help="with --run: which checkpoint (default: the best)",
    )  # fmt: skip
    words.add_argument("--hf_path", metavar="DIR", type=typed(path), help="or an exported folder")
    words.add_argument(
        "--output", metavar="DIR", type=typed(path), help="the new folder (default: hf in the run)"
    )
    words.add_argument(
        "--task", metavar="NAME", type=typed(text), help="(default: the one it was trained on)"
    )
    words.add_argument("--model_name", metavar="CLASS", type=typed(text), help="your own class")
    add_module_import(words, "the task or the class")
    words.add_argument(
        "--safetensors_dtype", choices=("fp32", "bf16", "fp16"),
        help="the type of the weights (default: unchanged)",
    )  # fmt: skip
    words.add_argument(
        "--adapter", action="store_true",
        help="only the adapters and the head of a run with --lora, for peft",
    )  # fmt: skip
    words.add_argument("--onnx", action="store_true", help="add onnx/model.onnx")
    words.add_argument(
        "--push_to_hub", metavar="NAME", type=typed(repository), help="then upload it to the hub"
    )
    words.add_argument("--public", action="store_true", help="make a new repository public")
    words.add_argument("--ctranslate2", action="store_true", help="add ctranslate2/, for T5")
    return words


def main(flags: Namespace) -> None:
    """Exports the model."""
    check_model_flags(flags)
    if flags.public and not flags.push_to_hub:
        what, fix = "nothing is pushed to the hub", "add --push_to_hub NAME"
        raise UserError(what, "--public", fix)
    formats = ("safetensors_dtype", "onnx", "ctranslate2")
    given = [f"--{name}" for name in formats if getattr(flags, name)]
    if flags.adapter and given:
        what = "adapters cannot be exported in other formats"
        raise UserError(what, f"--adapter and {given[0]}", "give one of them")

    from ke_t5.exporting.export import main, target_of
    from ke_t5.recipes.folders import check_can_write

    target = target_of(flags)
    check_can_write(target.parent, where=f"--output {target}")
    main(flags, target)
