"""The documentation for contributors agrees with the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ("CONTRIBUTING.md", "docs/architecture.md")
SECURITY = "SECURITY.md"
SUFFIXES = (".py", ".md", ".toml", ".gin", ".txt")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCS)
def test_every_path_that_it_names_exists(name):
    prose = FENCED.sub("", text_of(name))
    names = re.findall(r"`([\w./-]+)`", prose)
    # `tests/conftest.py`, `ke_t5/pipe/`; `weights/best.json` is in no prose.
    paths = [ROOT / path for path in names if "/" in path or path.endswith(SUFFIXES)]
    folder = (ROOT / name).parent
    paths += [folder / link for link in re.findall(r"\]\(([^)#]+)\)", prose)]
    assert len(paths) > 20
    assert [path for path in paths if not path.exists()] == []


def test_security_md_names_what_is_trusted_and_is_linked():
    text = text_of(SECURITY)
    for words in ("MANIFEST.json", "trust_remote_code", "weights_only=True", "ke_t5.seals"):
        assert words in text
    paths = [path for path in re.findall(r"`([\w./-]+\.py)`", text)]
    assert paths and all((ROOT / path).exists() for path in paths)
    for readme in ("README.md", "README.en.md"):
        assert f"({SECURITY})" in text_of(readme)


def test_quoted_code_is_in_the_files():
    quotes = [code for language, code in FENCED.findall(text_of(DOCS[0])) if language == "python"]
    assert len(quotes) == 6
    for quote in quotes:
        file, *lines = quote.splitlines()
        source = text_of(file.removeprefix("# ")).splitlines()
        assert [line for line in lines if line not in source] == []


def test_every_room_is_described():
    rooms = {f"`ke_t5/{path.parent.name}/`" for path in (ROOT / "ke_t5").glob("*/__init__.py")}
    assert {room for room in rooms if room not in text_of("docs/architecture.md")} == set()


def test_the_glossary_has_each_term_once():
    glossary = text_of("CONTRIBUTING.md").partition("## Glossary")[2]
    terms = re.findall(r"^\| ([a-z ,]+) \|", glossary, re.MULTILINE)[1:]
    assert len(terms) > 30 and len(set(terms)) == len(terms)
