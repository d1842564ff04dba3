"""`ke-t5 serve` from top to bottom: the model, the endpoint, the page, until it is stopped."""

from __future__ import annotations

import logging
import socket
from argparse import Namespace
from typing import TYPE_CHECKING

from ke_t5.errors import Exit, UserError
from ke_t5.recipes.prepare import set_up_logging
from ke_t5.serving.predicting import log_lost, predictor_of

if TYPE_CHECKING:
    from types import FrameType

    from uvicorn import Server

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 2  # that open connections have left when the server is stopped


def main(flags: Namespace) -> None:
    """Serves the model that the flags name."""
    set_up_logging(debug=flags.debug)
    listener = listening_socket(flags.host, flags.port)
    with listener:
        require_libraries()
        logger.info("loading PyTorch and the model")  # seconds pass until the next line
        predictor = predictor_of(flags)

        import gradio
        import uvicorn
        from gradio.themes import Soft

        from ke_t5.serving.batcher import Batcher
        from ke_t5.serving.page import CSS, FONTS, make_page
        from ke_t5.serving.server import Limits, make_app

        limits = Limits(flags.max_rows, flags.max_characters, flags.rate)
        batcher = Batcher(predictor)
        app = make_app(predictor, batcher, limits)
        theme = Soft(font=FONTS, font_mono=["monospace"])
        page = make_page(predictor, batcher, limits)
        app = gradio.mount_gradio_app(
            app, page, path="/", theme=theme, css=CSS, footer_links=[], show_error=True
        )
        if flags.host not in ("127.0.0.1", "::1", "localhost"):
            logger.warning("--host %s: everybody who reaches this machine can use it", flags.host)
        port, address = listener.getsockname()[1], address_of(listener)
        logger.info("%s: %s (stop it with Ctrl-C)", predictor.task.name, address)
        settings = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=CLOSING_SECONDS,
            server_header=False,
        )  # fmt: skip
        was_stopped = is_stopped(uvicorn.Server(settings), listener)
        log_lost(predictor)
        if was_stopped:
            raise KeyboardInterrupt(f"the server on port {port} is closed")


def is_stopped(server: Server, listener: socket.socket) -> bool:
    """Runs the server; returns whether a stop signal ended it.

    uvicorn itself would raise the signal again once everything is closed; as a second signal, that
    would end the process without its last line.
    """
    signals = []

    def stop(sig: int, frame: FrameType | None) -> None:
        signals.append((sig, frame))
        server.should_exit = True

    server.handle_exit = stop
    server.run([listener])
    return bool(signals)


def listening_socket(host: str, port: int) -> socket.socket:
    """The bound socket of the server; a UserError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, TypeError, UnicodeError) as error:  # the latter two for malformed names
        listener.close()
        what = f"cannot be used ({getattr(error, 'strerror', None) or error})"
        where = f"--host {host:.60} --port {port}"
        fix = "choose another port, or 0 for any that is free"
        raise UserError(what, where, fix, Exit.MACHINE) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of the page.

    http://127.0.0.1:7860/
    http://[::1]:7860/
    """
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def require_libraries() -> None:
    """Raises UserError if a library of the server is not installed."""
    from importlib.util import find_spec

    for name in ("gradio", "fastapi", "uvicorn"):
        if find_spec(name) is None:
            fix = 'pip install "ke_t5[serve]"'
            raise UserError(f"{name} is not installed", "ke-t5 serve", fix, Exit.MACHINE)
