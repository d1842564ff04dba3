"""Whether the Hugging Face hub answers: asked once, briefly, before a library retries for 20 s."""

from __future__ import annotations

import functools
import os
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 2.0


@functools.cache
def why_unreachable() -> str | None:
    """None where the hub answers; else why not, in a few words. Asked once per process."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            return None
    except urllib.error.HTTPError:
        return None  # it answered
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"no answer from {endpoint} ({reason})"
