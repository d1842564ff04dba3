"""Table files: every format gives the same rows, and each refusal names file and line."""

import io
import json
import logging
import re
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ke_t5.errors import LONGEST_LINE, Exit, UserError
from ke_t5.pipe.file_faults import file_fault
from ke_t5.readers.encodings import report_once
from ke_t5.readers.table_files import check_options, columns, read_table
from ke_t5.readers.workbooks import cell_text

HEADER, ROWS = ["문장", "평점"], [["정말 좋았다", "001"], ["음, 별로", "1.0"], ['"최고"라며', ""]]
RECORDS = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
CSV = '문장,평점\n정말 좋았다,001\n"음, 별로",1.0\n"""최고""라며",\n'


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "a.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


@pytest.fixture
def said(caplog):
    """What is logged while a file is read."""
    report_once.cache_clear()
    caplog.set_level(logging.INFO, logger="ke_t5")
    return lambda: [record.getMessage().rpartition("/")[2] for record in caplog.records]


def workbook(path: Path) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    for row in [HEADER, *ROWS]:
        sheet.append(row)
    book.save(path)
    return path


def parquet(path: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)
    return path


def json_lines(rows: list) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_every_format_gives_the_same_rows(write, tmp_path):
    tabs = CSV.replace(",평점", "\t평점").replace(",001", "\t001").replace('",', '"\t')
    files = {
        "a.csv": CSV,
        "semicolons.csv": tabs.replace("\t", ";"),
        "a.tsv": tabs,
        "a.txt": tabs.replace("\n", "\r\n"),
        "a.json": json.dumps(RECORDS, ensure_ascii=False, indent=1),
        "named.json": json.dumps({"data": RECORDS}),
        "a.jsonl": json_lines(RECORDS),
    }
    paths = [write(content, name) for name, content in files.items()]
    paths += [workbook(tmp_path / "a.xlsx"), parquet(tmp_path / "a.parquet")]
    for path in paths:
        assert [row for _, row in read_table(path)] == RECORDS, path.name
        assert columns(path) == HEADER, path.name


@pytest.mark.parametrize(
    ("name", "encoding", "line"),
    [
        ("a.csv", "cp949", "a.csv: read as CP949"),
        ("a.csv", "utf-16", "a.csv: read as UTF-16"),
        ("a.jsonl", "utf-16-be", "a.jsonl: read as UTF-16"),
        ("a.tsv", "utf-8-sig", None),
        ("a.json", "cp949", "a.json: read as CP949"),
    ],
)
def test_encodings_are_detected_and_reported(write, said, name, encoding, line):
    content = {
        "a.csv": CSV, "a.tsv": CSV.replace(",", "\t").replace("음\t", "음,"),
        "a.json": json.dumps(RECORDS, ensure_ascii=False), "a.jsonl": json_lines(RECORDS),
    }[name]  # fmt: skip
    rows = list(read_table(write(content, name, encoding)))
    assert [row for _, row in rows] == RECORDS
    assert said() == ([line] if line else [])
    assert list(read_table(write(content, name, encoding), encoding=encoding)) == rows


def test_lines_are_those_of_an_editor(write, tmp_path):
    path = write('글,값\n"두\n줄",1\n\n,\n다음,2\n')
    assert list(read_table(path)) == [
        (2, {"글": "두\n줄", "값": "1"}),
        (6, {"글": "다음", "값": "2"}),
    ]
    assert [line for line, _ in read_table(workbook(tmp_path / "a.xlsx"))] == [2, 3, 4]
    assert [line for line, _ in read_table(write("가\n\n나 \n", "a.txt"))] == [1, 3]


def test_numbers_of_a_workbook_are_as_shown(tmp_path):
    import datetime

    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    cells = [1, 1.5, "001", "1.0", 7, 2.5, True, datetime.datetime(2024, 5, 1), None]
    for row in (list("가나다라마바사아"), cells[:8], [], [None, "끝"]):
        sheet.append(row)
    sheet["E2"].number_format, sheet["F2"].number_format = "000", "0.00"
    book.create_sheet("둘째").append(["하나"])
    book["둘째"].append(["값"])
    book.save(path := tmp_path / "a.xlsx")
    (line, row), (last, _) = read_table(path)
    assert list(row.values()) == ["1", "1.5", "001", "1.0", "007", "2.50", "TRUE", "2024-05-01"]
    assert (line, last) == (2, 4)
    assert list(read_table(path, sheet="둘째")) == [(2, {"하나": "값"})]
    with pytest.raises(UserError, match="no sheet '두째'; did you mean '둘째'"):
        list(read_table(path, sheet="두째"))


def sheet_xml(path: Path, cell: str) -> Path:
    """A workbook whose cell B3 is this XML."""
    workbook(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    members[name] = re.sub(rb'<c r="B3".*?</c>', cell.encode(), members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_workbook_without_formulas_is_parsed_once(tmp_path, monkeypatch):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["text", "memo"])
    book.active.append(["=f", None])
    book.active["A2"].data_type = "s"
    book.active["B2"].font = openpyxl.styles.Font(bold=True)  # in the file, but empty
    book.save(tmp_path / "a.xlsx")
    calls, load = [], openpyxl.load_workbook
    counted = lambda *args, **options: calls.append(1) or load(*args, **options)  # noqa: E731
    monkeypatch.setattr(openpyxl, "load_workbook", counted)
    assert list(read_table(tmp_path / "a.xlsx")) == [(2, {"text": "=f", "memo": ""})]
    assert len(calls) == 1


@pytest.mark.parametrize(
    "cell", ['<c r="B3"><f>A3&amp;A2</f><v></v></c>', '<c r="B3"><f>A3&amp;A2</f></c>']
)
def test_a_formula_without_a_result_is_refused(tmp_path, cell):
    path = sheet_xml(tmp_path / "a.xlsx", cell)
    rows = read_table(path)
    assert next(rows) == (2, RECORDS[0])
    message = (
        "a.xlsx:3: cell B3 has a formula without a result, '=A3&A2'; "
        "open the workbook in Excel or LibreOffice and save it"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        next(rows)


def test_a_formula_without_a_result_is_allowed_in_a_column_that_is_not_needed(tmp_path):
    path = sheet_xml(tmp_path / "a.xlsx", '<c r="B3"><f>A3&amp;A2</f></c>')
    text, label = HEADER
    assert columns(path) == HEADER
    rows = dict(read_table(path, needed=[text]))
    assert rows == {2: RECORDS[0], 3: {**RECORDS[1], label: ""}, 4: RECORDS[2]}
    with pytest.raises(UserError, match="a.xlsx:3: cell B3 has a formula without a result"):
        list(read_table(path, needed=[label, text]))


def test_a_row_of_formulas_only_is_not_skipped(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["text", "sum"], ["가", 1], [None, "=SUM(B2:B2)"], ["=A2", None]):
        book.active.append(row)
    book.save(path := tmp_path / "a.xlsx")
    rows = read_table(path, needed=["text"])
    assert next(rows) == (2, {"text": "가", "sum": "1"})
    assert next(rows) == (3, {"text": "", "sum": ""})
    with pytest.raises(UserError, match="a.xlsx:4: cell A4 has a formula without a result, '=A2'"):
        next(rows)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('<c r="B3" t="str"><f>""</f><v></v></c>', ""),
        ('<c r="B3" t="str"><f>A3</f><v>음</v></c>', "음"),
        ('<c r="B3"><f>1+1</f><v>2</v></c>', "2"),
        ('<c r="B3" s="0"/>', ""),
    ],
    ids=["empty text", "text", "number", "styled empty cell"],
)
def test_results_of_formulas_are_read(tmp_path, cell, value):
    rows = dict(read_table(sheet_xml(tmp_path / "a.xlsx", cell)))
    assert rows[3] == {**RECORDS[1], "평점": value}
    assert rows[4] == RECORDS[2]


@pytest.mark.parametrize(
    ("number", "form", "text"),
    [
        (3.456, "0.0", "3.456"),
        (0.1 + 0.2, "0.0", "0.3"),
        (0.1 + 0.2, "General", "0.3"),
        (1234.5, "#,##0.00", "1234.50"),
        (2.0, "General", "2"),
        (12345678901234567, "General", "12345678901234567"),
    ],
)
def test_a_format_of_a_workbook_pads_numbers_but_rounds_none(number, form, text):
    assert cell_text(SimpleNamespace(value=number, number_format=form)) == text


def test_quotes_of_a_corpus_and_of_a_spreadsheet(write, said):
    corpus = '글\t값\n"네" 라고 "했다"\t1\n"열린 따옴표\t0\n'
    assert [row["글"] for _, row in read_table(write(corpus, "a.tsv"))] == [
        '"네" 라고 "했다"', '"열린 따옴표',
    ]  # fmt: skip
    assert said() == ["a.tsv: its double quotes are read as characters of the text"]
    sheet = '글\t값\n"쉼표, ""인용""\n둘째 줄"\t1\n'
    assert [row["글"] for _, row in read_table(write(sheet, "b.tsv"))] == ['쉼표, "인용"\n둘째 줄']
    assert len(said()) == 1


def test_an_odd_quote_does_not_slow_the_reading_of_a_long_file(write):
    """For example an inch mark; rescanning the rest for each line took a minute for 10 MB."""
    path = write('글\t값\n5" 화면\t1\n' + "재미있게 봤습니다\t1\n" * 100_000, "a.tsv")
    began = time.process_time()
    assert next(iter(read_table(path))) == (2, {"글": '5" 화면', "값": "1"})
    assert time.process_time() - began < 3


def test_what_is_said_of_a_header(write, said):
    path = write(",글;값,값\n0,가,나\n")
    assert list(read_table(path)) == [(2, {"글;값": "가", "값": "나"})]
    list(read_table(write("글;값\n가,나;1\n", "b.csv")))
    assert said() == [
        "a.csv: column 1 has no name and is left out",
        "b.csv: its columns are separated by semicolons",
    ]


def test_standard_input(monkeypatch):
    def given(content: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return list(read_table("-"))

    assert given("가\n\n나\t다\n".encode()) == [(1, {"text": "가"}), (3, {"text": "나\t다"})]
    assert given('{"글": 1}\n{"글": null}'.encode()) == [(1, {"글": 1}), (2, {"글": None})]
    for content, line in {
        b'{"a": 1}\n[1]\n': "standard input:2: not a JSON object; write an object on each line",
        b"\xc2a\xbc": "standard input: not encoded in UTF-8; give its encoding",
        b"a\n\0": "standard input:2: the line has a NUL character; remove it",
    }.items():
        with pytest.raises(UserError, match=line):
            given(content)


FAULTS = {
    "ragged": (
        "a,b\n1,2\n1,2,3\n",
        "a.csv:3: 3 cells, but the header has 2; put cells with commas",
    ),
    "duplicate": ("a,b,a\n1,2,3\n", "a.csv:1: columns 1 and 3 of the header are both 'a'; rename"),
    "no names": (" , \n1,2\n", "a.csv:1: the header names no column; name the columns there"),
    "no rows": ("a,b\n\n", "a.csv: no rows below the header; write rows into it"),
    "empty": ("", "a.csv: the file is empty; write rows into it"),
    "nul": ("a,b\n1,\0\n", "a.csv:2: the line has a NUL character; remove it"),
    "unclosed": (
        'a,b\n1,2\n"3,4\n5,6\n',
        "a.csv:3: double quotes that begin on this line or below",
    ),
    "behind quotes": ('a,b\n"1"x,2\n', "a.csv:2: text follows the closing quote of a cell"),
    "damaged": (CSV.encode() + b"\xff\n", "a.csv:5: the line has bytes that are neither UTF-8 nor"),
    "cut off": (CSV.encode("utf-16")[:-1], "a.csv:4: the line has bytes that are not UTF-16; save"),
}


@pytest.mark.parametrize(("content", "line"), FAULTS.values(), ids=FAULTS)
def test_faults_of_separated_values(write, content, line):
    check_fault(write(content), line)


def check_fault(path: Path, line: str) -> None:
    with pytest.raises(UserError) as caught:
        list(read_table(path))
    assert caught.value.exit_code is Exit.DATA
    found = str(caught.value).replace(f"{path.parent}/", "").removeprefix("error: ")
    assert found.startswith(line) and len(found) < LONGEST_LINE


def test_faults_of_files(write, tmp_path):
    write(CSV, "reviews.csv")
    check_fault(tmp_path / "review.csv", "review.csv: no such file; did you mean 'reviews.csv'?")
    check_fault(tmp_path / "b" / "a.csv", "a.csv: no such file; check its path")
    check_fault(tmp_path, f"{tmp_path.name}: a folder, not a file; name the file")
    check_fault(write("x", "a.hwp"), "a.hwp: '.hwp' is not a table format; save it as")
    check_fault(write("x", "a.xls"), "a.xls: the old workbook format (.xls); save it as .xlsx")
    check_fault(write("x", "a.xlsx"), "a.xlsx: not an Excel workbook, or cut off; save it as .xlsx")
    locked = write(b"\xd0\xcf\x11\xe0" + bytes(600), "b.xlsx")
    check_fault(locked, "b.xlsx: an old (.xls) or password-protected workbook; save it as")
    check_fault(
        write("x", "a.parquet"), "a.parquet: not a parquet file, or cut off; write it again"
    )
    check_fault(write('{"a": 1}\n{"a"', "a.jsonl"), "a.jsonl:2: not JSON (column 5: Expecting")


def test_a_damaged_sheet_in_a_whole_archive(tmp_path):
    path = workbook(tmp_path / "a.xlsx")
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("xl/worksheets/sheet1.xml").header_offset
    content = bytearray(path.read_bytes())
    content[start + 60 : start + 80] = b"\xff" * 20  # the compressed data after the name
    path.write_bytes(content)
    check_fault(path, "a.xlsx: not an Excel workbook, or cut off; save it as .xlsx")


def test_a_damaged_parquet_file_has_a_type_that_does_not_exist(tmp_path, monkeypatch):
    """Like 18 of 6,000 files with a changed byte in the footer."""
    import pyarrow.parquet

    def refuse(path):
        raise pyarrow.ArrowNotImplementedError("Integers with more than 64 bits")

    path = parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", refuse)
    check_fault(path, "a.parquet: not a parquet file, or cut off; write it again")
    assert file_fault([path], {}).what == "not a parquet file, or cut off"


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.json", "a.jsonl"])
def test_a_given_encoding(write, name):
    content = '{"글": "가"}\n' if "json" in name else "글\t값\n가\t나\n"
    path = write(content, name)
    for given in ("euc", "rot13"):
        with pytest.raises(UserError, match=f"unknown encoding '{given}'; give one such as cp949"):
            list(read_table(path, encoding=given))
    for given in ("ascii", "cp949", "utf-16"):
        with pytest.raises(UserError, match=f"{name}: not encoded in {given}; give its own"):
            list(read_table(path, encoding=given))
    marked = write(b"\xef\xbb\xbf" + content.encode(), f"marked_{name}")
    for given in ("utf-8", "UTF8", "utf-8-sig"):
        ((_, row),) = read_table(marked, encoding=given)
        assert row["글"] == "가"


def test_a_workbook_without_openpyxl(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    check_fault(write("x", "a.xlsx"), "openpyxl: reading .xlsx needs openpyxl; run pip install")


def test_a_table_is_streamed(write):
    path = write("글,값\n" + f"{'가나다' * 100},1\n" * 20_000)
    import tracemalloc

    tracemalloc.start()
    assert sum(1 for _ in read_table(path)) == 20_000
    assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 2
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("files", "options", "where"),
    [
        (["a.csv", "-"], {"sheet": "둘째"}, "--sheet '둘째'"),
        (["a.xlsx", "b.parquet"], {"encoding": "cp949"}, "--encoding 'cp949'"),
    ],
)
def test_options_that_fit_none_of_the_files_are_refused(files, options, where):
    given = {"encoding": None, "sheet": None, **options}
    with pytest.raises(UserError) as caught:
        check_options(files, prefix="--", **given)
    assert caught.value.where == where


def test_options_for_one_of_several_files_are_taken():
    check_options(["a.CSV", "b.XLSX"], prefix="--", encoding="cp949", sheet="둘째")
    check_options(["texts"], prefix="--", encoding="cp949", sheet=None)
