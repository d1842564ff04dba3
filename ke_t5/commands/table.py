"""The table of commands. A command is a line here and a module with two functions:

parser() -> argparse.ArgumentParser    a `ke_t5.commands.arguments.Parser`; cheap to import
main(flags: Namespace) -> None         imports heavy modules itself
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A command: its name, its line in `ke-t5 --help`, and its module."""

    name: str
    summary: str
    module: str


COMMANDS = (
    Command("train", "trains and validates a model on a task", "ke_t5.commands.train"),
    Command("test", "scores a model on a split of a task", "ke_t5.commands.test"),
    Command("inspect", "examines the data before training", "ke_t5.commands.inspect"),
    Command("predict", "predicts texts and files with a model", "ke_t5.commands.predict"),
    Command("sweep", "searches for the best settings of a training", "ke_t5.commands.sweep"),
    Command("serve", "serves a model on a web page and a JSON API", "ke_t5.commands.serve"),
    Command("compare", "compares two models on the same rows", "ke_t5.commands.compare"),
    Command("board", "shows the scores of many runs in one table", "ke_t5.commands.board"),
    Command("klue", "trains a model on all of KLUE", "ke_t5.commands.klue"),
    Command("export", "exports a model: safetensors, ONNX, CTranslate2", "ke_t5.commands.export"),
    Command("report", "writes the report of a run: curves, scores, cost", "ke_t5.commands.report"),
    Command("tasks", "lists the tasks and whether their data exists", "ke_t5.commands.tasks"),
    Command("models", "lists the model classes, or describes a model", "ke_t5.commands.models"),
    Command("doctor", "checks the machine, the installation, a tokenizer", "ke_t5.commands.doctor"),
)
