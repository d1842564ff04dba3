"""Writes the gin reference in both languages: `python docs/gin_reference.py`.

Everything comes from the code: names, types, ranges and defaults from the functions that gin may
bind, meanings from their docstrings. tests/test_docs_site.py fails if a page is out of date.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import ke_t5.recipes.prepare  # noqa: E402, F401 - registers everything that gin may bind
from ke_t5.config.annotations import hint_of, shown  # noqa: E402
from ke_t5.config.bindings import configurable, configurables  # noqa: E402
from ke_t5.config.ranges import Range  # noqa: E402

HEADS = {
    "ko": (
        "# gin 레퍼런스",
        "gin으로 지정할 수 있는 모든 것입니다. 코드에서 생성한 문서이므로 설명은 영어입니다. "
        "쓰는 방법은 [gin 설정](gin.md)에 있습니다.",
        "| 인자 | 값 | 기본값 | 뜻 |",
    ),
    "en": (
        "# gin reference",
        "Everything that gin can set, generated from the code. "
        "[gin](gin.md) explains how to use it.",
        "| parameter | value | default | meaning |",
    ),
}
ENTRY = re.compile(r"^    (\w+): (.*(?:\n {6,}.*)*)", re.MULTILINE)


def page(language: str) -> str:
    """The whole page."""
    title, lead, head = HEADS[language]
    parts = [title, lead]
    for name, complete in sorted(configurables().items()):
        thing = configurable(complete)
        if thing.wrapped.__module__.startswith("ke_t5."):
            parts += [f"## {name}", first_lines(thing.wrapped), table(thing, head)]
    return "\n\n".join(parts) + "\n"


def first_lines(function) -> str:
    """The docstring's text above its sections, or that of the settings class it returns."""
    text = inspect.getdoc(settings_of(function) or function) or ""
    return " ".join(re.split(r"\n\n(?:Args|Attributes):", text)[0].split())


def settings_of(function) -> type | None:
    """Our settings class that a function returns, if it returns one."""
    returned = str(inspect.signature(function).return_annotation)
    settings = getattr(sys.modules[function.__module__], returned, None)
    is_ours = inspect.isclass(settings) and settings.__module__.startswith("ke_t5.")
    return settings if is_ours else None


def table(thing, head: str) -> str:
    """The parameters that gin may bind."""
    signature = inspect.signature(thing.wrapped)
    meanings = meanings_of(thing.wrapped)
    names = thing.allowlist or list(signature.parameters)
    has_meanings = any(name in meanings for name in names)
    head = head if has_meanings else head[: head.rstrip("| ").rindex("|") + 1]
    rows = [head, "|---" * (head.count("|") - 1) + "|"]
    for name in names:
        if name in ("params", "self", *(thing.denylist or ())):
            continue
        default = signature.parameters[name].default
        shown_default = getattr(default, "__name__", None)
        default = f"@{shown_default}" if shown_default else repr(default)
        row = f"| `{name}` | {values_of(thing.wrapped, name)} | `{default}` |"
        rows.append(f"{row} {meanings.get(name, '')} |" if has_meanings else row)
    return "\n".join(rows)


def values_of(function, name: str) -> str:
    """The type in words, with the range of a number."""
    hint = hint_of(function, name)
    parts = [hint, *typing.get_args(hint)]
    metadata = [each for part in parts for each in getattr(part, "__metadata__", ())]
    ranges = [str(each) for each in metadata if isinstance(each, Range) and str(each)]
    return shown(hint).replace("|", "\\|") + (f", {ranges[0]}" if ranges else "")


def meanings_of(function) -> dict[str, str]:
    """The meaning of each parameter, from the docstring or that of the settings class."""
    texts = [inspect.getdoc(each) or "" for each in (function, settings_of(function)) if each]
    found = {name: " ".join(text.split()) for each in texts for name, text in ENTRY.findall(each)}
    return {name: text.replace("|", "\\|") for name, text in found.items()}


def main() -> None:
    """Writes both pages."""
    for language in HEADS:
        path = ROOT / "docs" / language / "gin_reference.md"
        path.write_text(page(language), encoding="utf-8")


if __name__ == "__main__":
    main()
