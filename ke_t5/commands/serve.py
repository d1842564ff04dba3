"""`ke-t5 serve`: a trained model as a page and a JSON endpoint, on this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ke_t5.commands.arguments import Parser, typed
from ke_t5.commands.trained_model import add_model_flags, check_model_flags
from ke_t5.config.flags import text, whole

DESCRIPTION = """Serves an exported model or a run: a page to try it on, and JSON for programs.

  ke-t5 serve --hf_path DIR          http://127.0.0.1:7860/
  POST /predict  {"text": "..."}     GET /health     GET /openapi.json

Only this machine reaches it unless --host says otherwise; there is no log-in."""


def parser() -> ArgumentParser:
    """The parser of its words."""
    words = Parser("serve", DESCRIPTION)
    words.set_defaults(command="serve")
    add_model_flags(words)
    server = words.add_argument_group("Server")
    server.add_argument("--host", type=typed(text), default="127.0.0.1", help="(default: loopback)")
    server.add_argument(
        "--port", metavar="N", type=typed(whole(0, 65535)), default=7860,
        help="0: any that is free (default: 7860)",
    )  # fmt: skip
    server.add_argument(
        "--max_rows", metavar="N", type=typed(whole(1)), default=64,
        help="rows of a request (default: 64)",
    )  # fmt: skip
    server.add_argument(
        "--max_characters", metavar="N", type=typed(whole(1)), default=20_000,
        help="of a row (default: 20000)",
    )  # fmt: skip
    server.add_argument(
        "--rate", metavar="N", type=typed(whole(1)), default=600,
        help="requests a minute from one address (default: 600)",
    )  # fmt: skip
    return words


def main(flags: Namespace) -> None:
    """Serves until it is stopped."""
    check_model_flags(flags)
    from ke_t5.serving.serving import main

    main(flags)
