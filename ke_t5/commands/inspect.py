"""`ke-t5 inspect`: what is in the data of a training, before it is trained on."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ke_t5.commands.arguments import Parser, typed
from ke_t5.config.flags import parse_train, path

DESCRIPTION = """Looks at the data that `ke-t5 train` with the same flags would read.

Rows, labels, lengths in tokens, what is lost on the way to the model, unknown tokens, equal
and nearly equal texts inside and across splits, equal texts with other labels, examples.
All flags of `ke-t5 train` are accepted; see its --help."""


class InspectParser(Parser):
    """The parser of a training's flags and some more."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """`own`: the flags of inspect itself; `training`: those of a training."""
        own, rest = self.parse_known_args(args, namespace)
        debug = ["--debug"] if own.debug else []
        return Namespace(own=own, training=parse_train([*rest, *debug]))


def parser() -> Parser:
    """The parser of its words."""
    words = InspectParser("inspect", DESCRIPTION)
    words.add_argument("--json", action="store_true", help="JSON instead of text")
    words.add_argument("--html", metavar="FILE", type=typed(path), help="writes a page")
    return words


def main(flags: Namespace) -> None:
    """Prints what is in the data, and writes the page."""
    from ke_t5.inspection import inspect

    inspect.main(flags.training, as_json_text=flags.own.json, page=flags.own.html)
