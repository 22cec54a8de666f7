"""Delimited text -> rows: tab-separated tables without quoting, comma- or semicolon-separated ones with CSV quoting."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from datamodules.common.errors import DataError

DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)


def delimiter_of(header: str) -> str:
    """Most frequent of tab, semicolon and comma in the first line of a table; a tab if it has none."""
    return max("\t;,", key=header.count)


def rows(lines: Iterable[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the last line, from 1, cells) of each row that is not empty.

    A quote in a tab-separated cell does not span lines; quotes around a whole cell are removed.

    Args:
        lines: of the file, with line ends
        delimiter: between cells
        path: of the file, for messages

    Raises:
        DataError: a quote of a CSV file is not closed or followed by text.
    """
    if delimiter == "\t":
        for number, line in enumerate(lines, 1):
            if text := line.rstrip("\r\n"):
                cells = text.split("\t")
                yield number, [_unquoted(cell) for cell in cells] if '"' in text else cells
        return
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: {error}; close the quote, or double quotes inside the text.") from error


def records(path: Path, errors: str = "strict") -> list[dict[str, str]]:
    """Rows of a table with a header as dictionaries; missing cells are empty.

    Args:
        path: table separated by commas, semicolons or tabs, in UTF-8
        errors: error handler for bytes that are not UTF-8

    Raises:
        DataError: as `rows`.
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig", errors=errors) as file:
        lines = file.readlines()
    if not lines:
        return []
    (_, header), *others = [*rows(lines, delimiter_of(lines[0]), path)] or [(0, [])]
    names = [name.strip() for name in header]
    return [dict(zip(names, [*row, *[""] * (len(names) - len(row))], strict=False)) for _, row in others]


def number(cell: str) -> float:
    """Parse a number with a decimal point or comma. Raises ValueError for anything else."""
    text = cell.strip()
    return float(text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text)


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell
