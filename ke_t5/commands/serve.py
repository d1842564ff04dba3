"""`ke-t5 serve`: serves a trained model as a page and a JSON endpoint on this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, typed
from ke_t5.commands.trained_model import add_model_flags, check_model_flags
from ke_t5.config.flags import text, whole

DESCRIPTION = """Serves an exported model or a run as a demo page and a JSON endpoint.

  ke-t5 serve --hf_path DIR          http://127.0.0.1:7860/
  POST /predict  {"text": "..."}     GET /health     GET /openapi.json

It is reachable from this machine only, unless --host is given; there is no authentication."""


def parser() -> ArgumentParser:
    """The parser of the command line."""
    words = Parser("serve", DESCRIPTION)
    words.set_defaults(command="serve")
    add_model_flags(words)
    server = words.add_argument_group("Server")
    server.add_argument("--host", type=typed(text), default="127.0.0.1", help="(default: loopback)")
    server.add_argument(
        "--port", metavar="N", type=typed(whole(0, 65535)), default=7860,
        help="0: any free port (default: 7860)",
    )  # fmt: skip
    server.add_argument(
        "--max_rows", metavar="N", type=typed(whole(1)), default=64,
        help="rows per request (default: 64)",
    )  # fmt: skip
    server.add_argument(
        "--max_characters", metavar="N", type=typed(whole(1)), default=20_000,
        help="characters per row (default: 20000)",
    )  # fmt: skip
    server.add_argument(
        "--rate", metavar="N", type=typed(whole(1)), default=600,
        help="requests per minute from one address (default: 600)",
    )  # fmt: skip
    return words


def main(flags: Namespace) -> None:
    """Serves the model until stopped."""
    check_model_flags(flags)
    from ke_t5.serving.serving import main

    main(flags)
