"""`ke-t5 klue`: trains a model on all of KLUE, and compares it with the published scores."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, typed
from ke_t5.config.flags import path, text, whole

DESCRIPTION = """Trains a model on KLUE's tasks at the published settings, one after the other, and
prints its scores beside those of the paper (klue.md and klue.json in the output folder).

If it is stopped, run the same command again: finished runs are kept, and the others are
resumed. Dialogue state tracking (WoS) is not included, because its published model is not
an encoder with a head."""


def parser() -> ArgumentParser:
    """The parser of the command line."""
    words = Parser("klue", DESCRIPTION)
    words.add_argument(
        "--pre_trained_model", type=typed(text), default="klue/roberta-base",
        help="hub name or folder (default: klue/roberta-base); if it contains 'large', the "
        "settings of a large model are used",
    )  # fmt: skip
    words.add_argument("--tasks", nargs="+", help="tc sts nli ner re dp mrc (default: all)")
    words.add_argument("--seeds", type=typed(whole(1)), default=1, help="number (default: 1)")
    words.add_argument("--seed", type=typed(whole(0)), default=42, help="the first (default: 42)")
    words.add_argument("--nproc", type=typed(whole(1)), default=1, help="processes (GPUs)")
    words.add_argument(
        "--output_dir", type=typed(path), default="output/klue", help="default: output/klue"
    )
    words.add_argument("--hf_data_dir", type=typed(path), help="as for ke-t5 train")
    words.add_argument("--hf_cache_dir", type=typed(path), help="as for ke-t5 train")
    words.add_argument("--sample", action="store_true", help="a rehearsal on the made-up corpus")
    words.add_argument("--max_steps", type=typed(whole(1)), help="steps per training, for a trial")
    words.add_argument("--eval_rows", type=typed(whole(1)), help="rows per validation, for a trial")
    return words


def main(flags: Namespace) -> None:
    """Trains, then prints and writes the table."""
    from ke_t5.experiments.klue import main

    main(flags)
