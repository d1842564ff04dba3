"""`ke-t5 predict`: predicts texts, the rows of a file, or standard input with a trained model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, typed
from ke_t5.commands.trained_model import add_model_flags, check_model_flags
from ke_t5.config.flags import path, text
from ke_t5.errors import UserError

DESCRIPTION = """Predicts with an exported model or a run.

  ke-t5 predict --hf_path DIR --text "배송이 빨라요"
  ke-t5 predict --hf_path DIR --input reviews.csv --output predicted.csv
  cat reviews.txt | ke-t5 predict --hf_path DIR > predicted.jsonl

Rows keep their columns. In JSON lines, "prediction" is added, with the probability of each
label, and entities and answers with character offsets; in CSV, columns are added."""

OF_TABLES = ("text_column", "text_pair_column", "choice_columns", "encoding", "sheet")


def parser() -> ArgumentParser:
    """The parser of the command line."""
    words = Parser("predict", DESCRIPTION)
    words.set_defaults(command="predict")
    add_model_flags(words)
    rows = words.add_argument_group("Rows")
    rows.add_argument(
        "--text", action="append", default=[], type=typed(text), help="a text; may be repeated"
    )
    rows.add_argument(
        "--text_pair", metavar="TEXT", action="append", default=[], type=typed(text),
        help="the second text of a pair, such as the passage of a question",
    )  # fmt: skip
    rows.add_argument(
        "--input", metavar="FILE", type=typed(path),
        help="CSV, TSV, TXT, JSON, JSONL, XLSX or Parquet; -: standard input (the default)",
    )  # fmt: skip
    rows.add_argument("--text_column", metavar="NAME", type=typed(text), help="(first) text")
    rows.add_argument("--text_pair_column", metavar="NAME", type=typed(text), help="second text")
    rows.add_argument("--choice_columns", metavar="NAME,NAME", type=typed(text), help="choices")
    rows.add_argument("--encoding", metavar="NAME", type=typed(text), help="(default: detected)")
    rows.add_argument("--sheet", metavar="NAME", type=typed(text), help="sheet of a workbook")
    rows.add_argument(
        "--on_error", choices=("stop", "skip"), default="stop",
        help="at an invalid row: stop, or write its error and continue (default: stop)",
    )  # fmt: skip
    result = words.add_argument_group("Result")
    result.add_argument(
        "--output", metavar="FILE", type=typed(path),
        help=".jsonl, .csv or .tsv, written atomically (default: JSON lines on standard output)",
    )  # fmt: skip
    return words


def main(flags: Namespace) -> None:
    """Predicts and writes the predictions."""
    check_model_flags(flags)
    if flags.text and flags.input:
        raise UserError("two inputs are named", "--text and --input", "give one of them")
    given = [name for name in OF_TABLES if getattr(flags, name)]
    if flags.text and given:
        raise UserError("applies to tables only", f"--{given[0]}", "drop it, or --text")
    if flags.text_pair and len(flags.text_pair) != len(flags.text):
        numbers = f"{len(flags.text)} and {len(flags.text_pair)}"
        fix = "give the same number of both"
        raise UserError(f"{numbers} texts", "--text and --text_pair", fix)

    from ke_t5.serving.predicting import main

    main(flags)
