"""`ke-t5 klue`: all of KLUE with one model, beside the published scores."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, typed
from ke_t5.config.flags import path, text, whole

DESCRIPTION = """Trains a model on KLUE's tasks at the published settings, one after the other, and
prints its scores beside those of the paper (klue.md and klue.json in the output folder).

A run that was finished is kept, one that was stopped continues: start the same command
again. Dialogue state (WoS) is left out: its published model is not an encoder with a head."""


def parser() -> ArgumentParser:
    """The parser of its words."""
    words = Parser("klue", DESCRIPTION)
    words.add_argument(
        "--pre_trained_model", type=typed(text), default="klue/roberta-base",
        help="hub name or folder (default: klue/roberta-base); names with 'large' get the "
        "settings of a large model",
    )  # fmt: skip
    words.add_argument("--tasks", nargs="+", help="tc sts nli ner re dp mrc (default: all)")
    words.add_argument("--seeds", type=typed(whole(1)), default=1, help="how many (default: 1)")
    words.add_argument("--seed", type=typed(whole(0)), default=42, help="the first (default: 42)")
    words.add_argument("--nproc", type=typed(whole(1)), default=1, help="processes (GPUs)")
    words.add_argument(
        "--output_dir", type=typed(path), default="output/klue", help="default: output/klue"
    )
    words.add_argument("--hf_data_dir", type=typed(path), help="as of train")
    words.add_argument("--hf_cache_dir", type=typed(path), help="as of train")
    words.add_argument("--sample", action="store_true", help="a rehearsal on the made-up corpus")
    words.add_argument("--max_steps", type=typed(whole(1)), help="of each training, to try it out")
    words.add_argument("--eval_rows", type=typed(whole(1)), help="of each validation, likewise")
    return words


def main(flags: Namespace) -> None:
    """Trains, prints the table and writes it."""
    from ke_t5.experiments.klue import main

    main(flags)
