"""Whether the Hugging Face hub can be reached, and the error for a download that was cut off."""

from __future__ import annotations

import functools
import http.client
import os
import re
import socket
import ssl
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator

from ke_t5.errors import Exit, UserError

SECONDS_TO_ANSWER = 3.0

# The libraries whose exceptions mean that a connection failed. They are not imported here; which of
# them the hub's own library uses depends on its version.
CLIENTS = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp"}
STANDARD = (urllib.error.URLError, http.client.HTTPException, socket.gaierror, ssl.SSLError)
NAMES = {
    "LocalEntryNotFoundError", "OfflineModeIsEnabled", "FileMetadataError", "XetDownloadError",
    "FSTimeoutError",
}  # fmt: skip
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # the first one that is set decides
OFFLINE_FOR_DATA = "HF_DATASETS_OFFLINE"
READERS = re.compile(r"[/\\](huggingface_hub|datasets|transformers|fsspec|urllib)[/\\]")
TRANSFER = re.compile(r"(?i)reqwest|\bcas (client|service) error|error sending request")


@functools.cache
def why_unreachable() -> str | None:
    """None if the hub answers; otherwise the reason in a few words. Checked once per process."""
    name = next((name for name in OFFLINE if os.environ.get(name)), None)
    if name is not None and _is_on(name):
        return f"{name} is set"
    return _ask(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))


def why_no_data() -> str | None:
    """As `why_unreachable`, but for data sets, which have a variable of their own: it keeps the
    library datasets offline, but not those that load models."""
    return f"{OFFLINE_FOR_DATA} is set" if _is_on(OFFLINE_FOR_DATA) else why_unreachable()


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")


def _ask(endpoint: str) -> str | None:
    host = endpoint.removeprefix("https://")
    reasons = [f"no answer from {host} within {SECONDS_TO_ANSWER:g} s"]

    def ask() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
        except urllib.error.HTTPError:
            reasons.clear()  # it answered
        except (OSError, ValueError) as error:
            cause = getattr(error, "reason", error)
            words = getattr(cause, "strerror", None) or cause
            reasons[:] = [f"no answer from {host} ({words})"]
        else:
            reasons.clear()

    # In a thread, because the timeout does not cover name servers that do not answer.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS_TO_ANSWER)
    return reasons[0] if reasons else None


def network_fault(error: BaseException, where: str = "network") -> UserError | None:
    """The error for a download that was cut off; None if `error` has another cause, such as a name
    that the hub does not know."""
    chain = list(_chain(error))
    if any(_is_refusal(one) for one in chain):
        return None
    for one in chain:
        if _is_of_network(one):
            reason = (str(one).strip().splitlines() or [""])[0][:200].rstrip(".")
            details = f"{type(one).__name__}: {reason}" if reason else type(one).__name__
            fix = "check the network and start again (the download continues), or use local files"
            return UserError(f"the download was cut off ({details})", where, fix, Exit.MACHINE)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and its causes, the outermost first."""
    for _ in range(20):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_refusal(error: BaseException) -> bool:
    """Whether a server answered that the resource does not exist or that access is denied."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)


def _is_of_network(error: BaseException) -> bool:
    classes = type(error).__mro__
    if {cls.__module__.partition(".")[0] for cls in classes} & CLIENTS:
        return True
    if isinstance(error, STANDARD) or {cls.__name__ for cls in classes} & NAMES:
        return True
    if isinstance(error, ConnectionError | TimeoutError):
        # Processes of a run that lose their connection raise the same exceptions.
        frames = traceback.extract_tb(error.__traceback__)
        return any(READERS.search(frame.filename) for frame in frames)
    return isinstance(error, RuntimeError) and bool(TRANSFER.search(str(error)))
