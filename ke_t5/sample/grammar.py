"""The sample's data files: word lists, sentence templates and recipes (data/*.txt), and templates
of rows (data/*.json).

    # A comment.
    cities                                      a list: entries separated by | or newlines
        서울|부산|대구
        @districts|제주                         @ includes the entries of another list
    date = {1..12}월 {1..28}일                  a recipe of one line
    day:                                        a recipe: slots that are drawn in order;
        date = {1..12}월 {1..28}일              the slot with the recipe's name is its text
        day = (40%) {year} {date} | {date}      the first in 40 % of all cases, else the second

The content of `{...}` is described in sampler.py. The words of words.txt are available to every
file.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(__file__).with_name("data")
_ASSIGNMENT = re.compile(r"(.+?) =(?: (?:\((\d+)%\) (.*?)(?: \| (.*))?|(.*)))?")


class Slot(NamedTuple):
    """A line of a recipe: `text` in `percent` of all cases, `otherwise` in the rest."""

    name: str
    text: str
    percent: int | None = None
    otherwise: str = ""


class Grammar(NamedTuple):
    """lists: heading -> entries; recipes: name -> slots in drawing order."""

    lists: dict[str, list[str]]
    recipes: dict[str, list[Slot]]

    def families(self, first: str) -> list[str]:
        """The second words of all headings "first second", in the order of the file."""
        prefix = f"{first} "
        return [name.removeprefix(prefix) for name in self.lists if name.startswith(prefix)]


def parse_grammar(text: str, base: Grammar | None = None) -> Grammar:
    """The lists and recipes of a file, in addition to those of `base`.

    >>> parse_grammar('''
    ... greeting
    ...     good morning|good night
    ...     hello
    ... ''').lists
    {'greeting': ['good morning', 'good night', 'hello']}
    """
    lists = dict(base.lists) if base else {}
    recipes = dict(base.recipes) if base else {}
    entries: list[str] = []
    slots: list[Slot] | None = None  # None: the current heading is that of a list
    for line in text.splitlines():
        content = line.strip()
        if not content or line.startswith("#"):
            continue
        if line.startswith(" "):
            if slots is not None:
                slots.append(_parse_slot(content))
                continue
            for entry in content.split("|"):
                entries += lists[entry[1:]] if entry.startswith("@") else [entry]
        elif content.endswith(":"):
            slots = recipes[content.removesuffix(":")] = []
        elif " = " in f"{content} ":
            slot = _parse_slot(content)
            recipes[slot.name] = [slot]
        else:
            entries = lists[content] = []
            slots = None
            recipes.pop(content, None)
    return Grammar(lists, recipes)


def _parse_slot(line: str) -> Slot:
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        raise ValueError(f"not `name = text`: {line!r}")
    name, percent, text, otherwise, always = match.groups()
    if percent is None:
        return Slot(name, always or "")
    return Slot(name, text, int(percent), otherwise or "")


@cache
def load_grammar(name: str) -> Grammar:
    """The grammar of data/<name>.txt, cached."""
    base = None if name == "words" else load_grammar("words")
    return parse_grammar((DATA / f"{name}.txt").read_text(encoding="utf-8"), base)


@cache
def load_json(name: str) -> dict[str, Any]:
    """The content of data/<name>.json, cached."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def render(template: Any, **values: Any) -> Any:
    """A JSON template with its slots filled.

    >>> render({"id": "a-{number:03d}", "rows": "{rows}"}, number=7, rows=[1, 2])
    {'id': 'a-007', 'rows': [1, 2]}
    """
    if isinstance(template, dict):
        return {key.format(**values): render(x, **values) for key, x in template.items()}
    if isinstance(template, list):
        return [render(item, **values) for item in template]
    if not isinstance(template, str):
        return template
    whole = re.fullmatch(r"\{(\w+)\}", template)
    return values[whole[1]] if whole else template.format(**values)
