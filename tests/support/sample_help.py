"""Shared by the tests of the embedded corpus: reads its files verbatim."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

KLUE = "klue_benchmark/{0}-v1.1/{0}-v1.1_{1}.{2}"


def read(data: Path, path: str) -> str:
    return (data / path).read_bytes().decode()


def klue(data: Path, stem: str, part: str) -> list[dict]:
    return json.loads(read(data, KLUE.format(stem, part, "json")))


def tsv(data: Path, path: str) -> list[dict[str, str]]:
    lines = read(data, path).splitlines()
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("[!.]*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def blocks(data: Path, stem: str, part: str) -> tuple[list[str], list[list[str]]]:
    """The comment lines at the top, and the lines of each sentence."""
    text = read(data, KLUE.format(stem, part, "tsv"))
    lines = text.split("\n")
    assert text.endswith("\n\n") and all(line.startswith("## ") for line in lines[:5])
    body = "\n".join(lines[5:]).removesuffix("\n\n")
    return lines[:5], [block.split("\n") for block in body.split("\n\n")]


def column(rows: list[dict], name: str) -> list[str]:
    return [row[name] for row in rows]
