"""Tables as people save them: any usual encoding and separator, blanks, empty rows."""

import codecs
import io
from pathlib import Path

import pandas as pd

from skin_cancer.errors import DatasetError

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
        path: of the file.

    Returns:
        Columns of dtype string, in which empty cells are missing.

    Raises:
        DatasetError: the file cannot be read, or is no such table.
    """
    try:
        lines = _text(path.read_bytes()).splitlines(keepends=True)
        separator = _separator(lines)
        rows = lines[1:] if _declares(lines) else lines
        table = pd.read_csv(io.StringIO("".join(rows)), sep=separator, dtype="string")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a table: {error}") from error
    table = table.rename(columns=str.strip).apply(lambda column: column.str.strip())
    return table.mask(table == "").dropna(how="all").reset_index(drop=True)


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
