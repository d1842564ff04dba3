"""Tables of sentences as text: a heading at the margin, its entries indented below."""

from __future__ import annotations


def read_table(text: str) -> dict[str, list[str]]:
    """Heading -> entries; several entries on one line are parted by `|`.

    >>> read_table('''
    ... greeting
    ...     good morning|good night
    ...     hello
    ... ''')
    {'greeting': ['good morning', 'good night', 'hello']}
    """
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.strip("\n").splitlines():
        if line.startswith(" "):
            found[heading] += line.strip().split("|")
        else:
            heading = line.strip()
            found[heading] = []
    return found
