"""The table of commands. A command is a line here and a module with two functions:

parser() -> argparse.ArgumentParser    made of `ke_t5.commands.arguments.Parser`; light
main(flags: Namespace) -> None         imports what is heavy itself
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A command: its name, what `ke-t5 --help` says of it, and the module that has it."""

    name: str
    summary: str
    module: str


COMMANDS = (
    Command("train", "trains and validates a model on a task", "ke_t5.commands.train"),
    Command("test", "scores a model on a split of a task", "ke_t5.commands.test"),
    Command("inspect", "looks at data before it is trained on", "ke_t5.commands.inspect"),
    Command("predict", "predicts with a trained model: texts, files", "ke_t5.commands.predict"),
    Command("sweep", "trains with several settings", "ke_t5.commands.sweep"),
    Command("serve", "a page and a JSON endpoint of a model", "ke_t5.commands.serve"),
    Command("compare", "compares two models on the same rows", "ke_t5.commands.compare"),
    Command("board", "models, tasks and seeds of many runs in one table", "ke_t5.commands.board"),
    Command(
        "klue", "trains a model on all of KLUE, beside the published scores", "ke_t5.commands.klue"
    ),
    Command("export", "writes a trained model as a folder, ONNX, ...", "ke_t5.commands.export"),
    Command("report", "writes the page of a run: curves, scores, cost", "ke_t5.commands.report"),
    Command("tasks", "lists the tasks and whether their data is there", "ke_t5.commands.tasks"),
    Command("models", "lists the model classes, or what a model fits", "ke_t5.commands.models"),
    Command("doctor", "checks the machine, the installation, a tokenizer", "ke_t5.commands.doctor"),
)
