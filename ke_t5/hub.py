"""Whether the Hugging Face hub answers: asked once, briefly, before a library retries for 20 s."""

from __future__ import annotations

import functools
import os
import threading
import urllib.error
import urllib.request

SECONDS_TO_ANSWER = 3.0


@functools.cache
def why_unreachable() -> str | None:
    """None where the hub answers; else why not, in a few words. Asked once per process."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    return _ask(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))


def _ask(endpoint: str) -> str | None:
    reasons = [f"no answer from {endpoint} within {SECONDS_TO_ANSWER:g} s"]

    def ask() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
        except urllib.error.HTTPError:
            reasons.clear()  # it answered
        except (OSError, ValueError) as error:
            reasons[:] = [f"no answer from {endpoint} ({getattr(error, 'reason', error)})"]
        else:
            reasons.clear()

    # A thread, because a name server that is silent is not subject to the time-out.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS_TO_ANSWER)
    return reasons[0] if reasons else None
