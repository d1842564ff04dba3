"""P10: archives whose members point outside of the folder write nothing there."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from ke_t5.errors import UserError
from ke_t5.pipe import Folders, HFDataSource
from ke_t5.readers.table_files import read_table

pytestmark = pytest.mark.promise("P10")

ROW = b'{"text": "x"}\n'
MEMBERS = ("../canary.jsonl", "../../canary.jsonl", "a/../../../canary.jsonl")


def tar(path: Path, names: list[str], links: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(ROW)
            archive.addfile(member, io.BytesIO(ROW))


def zipped(path: Path, names: list[str], links: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, target in links.items():
            link = zipfile.ZipInfo(name)
            link.external_attr = 0o120777 << 16
            archive.writestr(link, target)
        for name in names:
            archive.writestr(name, ROW)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder below one in which nothing else may appear."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.EXTRACTED_DATASETS_PATH", str(tmp_path / "cache"))
    return folder


def canaries(base: Path) -> list[str]:
    return [str(path) for path in base.rglob("*canary*")]


@pytest.mark.parametrize(
    ("kind", "make"), [("tar.gz", tar), pytest.param("zip", zipped, marks=pytest.mark.full)]
)
def test_an_archive_of_rows_whose_members_point_outside(place, tmp_path, kind, make):
    outside = str(tmp_path / "canary.jsonl")
    links = {"out": "../..", "canary-link": outside}
    make(place / f"rows.{kind}", ["good.jsonl", *MEMBERS, outside, "out/canary.jsonl"], links)
    source = HFDataSource("json", data_files={"train": str(place / f"rows.{kind}")})
    try:
        rows = source.rows("train", Folders(None, tmp_path / "prepared")).dataset
        assert set(rows["text"]) == {"x"}
    except UserError as error:
        assert str(error).startswith("error: data set 'json'")
    assert canaries(tmp_path) == []


@pytest.mark.full
@pytest.mark.parametrize("name", [*MEMBERS, "xl/workbook.xml"])
def test_a_workbook_whose_members_point_outside(place, tmp_path, name):
    entity = f'<!DOCTYPE a [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]><a>&e;</a>'
    (tmp_path / "secret").write_text("top secret", encoding="utf-8")
    with zipfile.ZipFile(place / "rows.xlsx", "w") as archive:
        archive.writestr(name, entity)
    with pytest.raises(UserError, match="rows.xlsx") as told:
        list(read_table(place / "rows.xlsx"))
    assert canaries(tmp_path) == [] and "top secret" not in str(told.value)
