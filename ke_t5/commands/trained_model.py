"""The flags of `predict` and `serve` for a trained model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import add_module_import, typed
from ke_t5.config.flags import path, resume, text, whole
from ke_t5.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16")


def add_model_flags(words: ArgumentParser) -> None:
    """Adds the flags of the model, its device and its precision."""
    model = words.add_argument_group("Model")
    model.add_argument("--hf_path", metavar="DIR", type=typed(path), help="an exported folder")
    model.add_argument("--run", metavar="DIR", type=typed(path), help="or the folder of a run")
    model.add_argument(
        "--resume", metavar="best|true|PATH", type=typed(resume),
        help="with --run: which checkpoint (default: the best)",
    )  # fmt: skip
    model.add_argument(
        "--task", metavar="NAME", type=typed(text),
        help="(default: the one that the model was trained on)",
    )  # fmt: skip
    model.add_argument("--model_name", metavar="CLASS", type=typed(text), help="your own class")
    add_module_import(model, "the task or the class")
    model.add_argument(
        "--device", type=typed(text), help="cpu, cuda, cuda:1 (default: a GPU if there is one)"
    )
    model.add_argument(
        "--precision", choices=PRECISIONS, default="auto",
        help="of the computation (default: auto, bf16 if the GPU supports it)",
    )  # fmt: skip
    model.add_argument("--batch_size", metavar="N", type=typed(whole(1)), help="rows per batch")


def check_model_flags(flags: Namespace) -> None:
    """Raises UserError unless the flags name one model."""
    if flags.hf_path and flags.run:
        both = "--hf_path and --run"
        raise UserError("two models are named", both, "give one of them")
    if not (flags.hf_path or flags.run):
        where, fix = f"ke-t5 {flags.command}", "give an export (--hf_path DIR) or a run (--run DIR)"
        raise UserError("no model is named", where, fix)
    if flags.resume and not flags.run:
        raise UserError("an export has no checkpoints", "--resume", "drop it, or give --run")
