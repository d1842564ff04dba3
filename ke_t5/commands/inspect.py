"""`ke-t5 inspect`: examines the data of a training before it starts."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ke_t5.commands.arguments import Parser, typed
from ke_t5.config.flags import parse_train, path

DESCRIPTION = """Examines the data that `ke-t5 train` with the same flags would read.

Shows rows, labels, lengths in tokens, truncated inputs and other losses, unknown tokens,
duplicates and near-duplicates within and across splits, duplicates with different labels,
and examples. All flags of `ke-t5 train` are accepted; see its --help."""


class InspectParser(Parser):
    """A parser that accepts the flags of a training besides its own."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """A namespace of `own`, the flags of inspect, and `training`, those of a training."""
        own, rest = self.parse_known_args(args, namespace)
        debug = ["--debug"] if own.debug else []
        return Namespace(own=own, training=parse_train([*rest, *debug]))


def parser() -> Parser:
    """The parser of the command line."""
    words = InspectParser("inspect", DESCRIPTION)
    words.add_argument("--json", action="store_true", help="JSON instead of text")
    words.add_argument("--html", metavar="FILE", type=typed(path), help="writes a page")
    return words


def main(flags: Namespace) -> None:
    """Prints the findings and writes the page."""
    from ke_t5.inspection import inspect

    inspect.main(flags.training, as_json_text=flags.own.json, page=flags.own.html)
