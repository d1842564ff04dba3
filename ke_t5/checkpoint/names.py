"""The names of checkpoint folders; needs no torch."""

from __future__ import annotations

import re

# `.old`: a folder that is being replaced.
NAME = re.compile(r"(step-(\d{8,}))(\.old)?")


def folder_name(step: int) -> str:
    """240 -> "step-00000240"."""
    return f"step-{step:08d}"
