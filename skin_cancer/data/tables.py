"""Tables as people save them: any usual encoding and separator, blanks, empty rows."""

import codecs
import io
import zipfile
from pathlib import Path

import pandas as pd

from skin_cancer.errors import DatasetError

SHEETS = (".xlsx", ".ods")
ENDINGS = (".csv", ".tsv", ".tab", ".txt", *SHEETS)
SEPARATORS = "\t;,"  # the first wins where a header has two of them equally often
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read(path: Path) -> pd.DataFrame:
    """Read a table whose first line names the columns, each cell as text.

    Encoding (UTF-8, UTF-16, otherwise Windows-1252) and separator (comma, semicolon, tab, or what a
    line `sep=;` above says) are told from the file. Blanks around names and cells are left out, and
    so are empty rows.

    Args:
        path: of the file; a spreadsheet (`SHEETS`) is read as well, its first sheet.

    Returns:
        Columns of dtype string, in which empty cells are missing; the index is each row's line in
        the file.

    Raises:
        DatasetError: the file cannot be read, or is no such table.
    """
    try:
        table = _sheet(path) if path.suffix.lower() in SHEETS else _lines(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} cannot be read as a table: {error}") from error
    table = table.rename(columns=lambda name: str(name).strip())
    table = table.apply(lambda column: column.str.strip())
    return table.mask(table == "").dropna(how="all").rename_axis("line")


def _sheet(path):
    table = pd.read_excel(path, dtype="string")
    return table.set_index(pd.RangeIndex(2, len(table) + 2))


def _lines(path):
    lines = _text(path.read_bytes()).splitlines(keepends=True)
    separator, above = _separator(lines), int(_declares(lines))
    text = io.StringIO("".join(lines[above:]))
    table = pd.read_csv(text, sep=separator, dtype="string", skip_blank_lines=False)
    return table.set_index(pd.RangeIndex(2 + above, len(table) + 2 + above))


def _text(content):
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _declares(lines):
    """Say whether the first line is the one by which spreadsheets are told the separator."""
    return bool(lines) and lines[0].strip().lower().startswith("sep=")


def _separator(lines):
    if _declares(lines):
        return lines[0].strip()[len("sep=") :] or "\t"
    header = lines[0] if lines else ""
    return max(SEPARATORS, key=header.count)
