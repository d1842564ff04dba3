"""Reads Excel workbooks row by row, with each cell as the text that Excel shows."""

from __future__ import annotations

import datetime
import re
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.readers.encodings import report_once
from ke_t5.readers.streams import fault

# The signature of .xls files and of workbooks with a password.
_OLE = b"\xd0\xcf\x11\xe0"
_FORMULA = re.compile(rb"<(?:\w{1,30}:)?f[\s/>]")  # the element, with a prefix in some files
# Raised for a damaged workbook: its archive, a compressed file in it, or its XML.
_DAMAGE = (
    OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, SyntaxError, KeyError,
    ValueError,
)  # fmt: skip


def workbook_records(
    path: Path, sheet: str | None = None, needed: Collection[str] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Yields (row number, cells) of a sheet's non-empty rows, padded to the length of the first.

    Args:
        sheet: the sheet's name; default: the first sheet, which is logged if there are more.
        needed: names of the columns, by the first row, in which a formula needs a stored result;
            default: all columns. Elsewhere such a cell is "".

    Raises:
        UserError: not a readable workbook, no such sheet, or a formula without a stored result.
    """
    openpyxl = _library()
    with open(path, "rb") as file:
        if file.read(4) == _OLE:
            what = "an old (.xls) or password-protected workbook"
            raise fault(path, what, "save it as .xlsx without a password")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about styles that openpyxl does not know
                book = openpyxl.load_workbook(file, read_only=True, data_only=True)
                yield from _records(book, path, _sheet_name(book, path, sheet), needed)
        except _DAMAGE:
            what = "not an Excel workbook, or cut off"
            raise fault(path, what, "save it as .xlsx again") from None


def _library() -> Any:
    try:
        import openpyxl
    except ImportError:
        fix = 'run pip install "ke_t5[excel]", or save the file as CSV'
        raise UserError("reading .xlsx needs openpyxl", "openpyxl", fix, Exit.DATA) from None
    return openpyxl


def _sheet_name(book: Any, path: Path, sheet: str | None) -> str:
    names = book.sheetnames
    if sheet is not None and sheet not in names:
        raise fault(path, f"no sheet {sheet!r:.60}", suggestion(sheet, names))
    if sheet is None and len(names) > 1:
        report_once(f"{path}: reading {names[0]!r}, the first of {len(names)} sheets")
    return sheet or names[0]


def _records(
    book: Any, path: Path, sheet: str, needed: Collection[str] | None
) -> Iterator[tuple[int, list[str]]]:
    width, places = None, None  # `places`: the indices of the needed columns
    formulas = _formula_rows(path, sheet)
    for number, row in enumerate(book[sheet].iter_rows(), 1):
        lacking: dict[int, Any] = {}
        if any(_may_lack_result(cell) for cell in row):
            found = next((cells for place, cells in formulas if place == number), ())
            lacking = _without_results(row, found)
            _check_results(row, lacking, places, f"{path}:{number}")
        cells = [cell_text(cell) for cell in row]
        while cells and not cells[-1] and (width is None or len(cells) > width):
            cells.pop()
        if any(cells) or lacking:
            if width is None:
                width = len(cells)
                places = _places(cells, needed)
            yield number, cells + [""] * (width - len(cells))


def _places(header: Sequence[str], needed: Collection[str] | None) -> set[int] | None:
    """The indices of the needed columns; None for all."""
    if needed is None:
        return None
    return {place for place, name in enumerate(header) if name.strip() in needed}


def _formula_rows(path: Path, sheet: str) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yields (row number, cells) with formulas in place of their results; nothing if the workbook
    has no formulas."""
    if not _has_formulas(path):  # reading a sheet twice takes long
        return
    with open(path, "rb") as file:
        book = _library().load_workbook(file, read_only=True)
        yield from enumerate(book[sheet].iter_rows(), 1)


def _has_formulas(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                rest = b""
                while piece := file.read(1 << 20):
                    rest += piece
                    if _FORMULA.search(rest):
                        return True
                    rest = rest[-40:]
    return False


def _may_lack_result(cell: Any) -> bool:
    """Whether a cell is in the file but empty; the result of a formula may be the text ""."""
    return cell.value is None and cell.data_type != "str" and hasattr(cell, "coordinate")


def _without_results(row: Sequence[Any], formulas: Sequence[Any]) -> dict[int, Any]:
    """Index -> formula of each cell without a result: only office programs compute them."""
    return {
        place: getattr(formula.value, "text", formula.value)  # of an array formula
        for place, (cell, formula) in enumerate(zip(row, formulas, strict=False))
        if formula.data_type == "f" and _may_lack_result(cell)
    }


def _check_results(
    row: Sequence[Any], lacking: Mapping[int, Any], places: Collection[int] | None, where: str
) -> None:
    """Raises UserError for the first formula without a result, of those at `places` if given."""
    for place, formula in lacking.items():
        if places is None or place in places:
            what = f"cell {row[place].coordinate} has a formula without a result, {formula!r:.40}"
            raise fault(where, what, "open the workbook in Excel or LibreOffice and save it")


def cell_text(cell: Any) -> str:
    """A cell's text as Excel shows it, except that numbers are not rounded.

    1, "001", 1.5             ->  "1", "001", "1.5"
    1 in the format 000       ->  "001"
    1 in the format 0.0       ->  "1.0"
    3.456 in the format 0.0   ->  "3.456"
    a date                    ->  "2024-05-01"
    """
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        form = str(getattr(cell, "number_format", "") or "")
        if re.fullmatch("0{2,}", form) and value == int(value):
            return str(int(value)).zfill(len(form))
        exact = float(f"{value:.15g}")  # as many digits as Excel has
        if decimals := re.fullmatch(r"[#,]*0\.(0+)", form):
            shown = f"{value:.{len(decimals.group(1))}f}"
            if float(shown) == exact:  # otherwise the format rounds the number
                return shown
        return str(int(value)) if value == int(value) else str(exact)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
