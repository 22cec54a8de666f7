"""Delimited text: rows of tab-separated tables, which have no quoting, and of comma- or semicolon-separated ones, which do."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from datamodules.common.errors import DataError

DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)


def delimiter_of(header: str) -> str:
    """Tab, semicolon or comma, whichever a table's first line has most of; a tab where it has none."""
    return max("\t;,", key=header.count)


def rows(lines: Iterable[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a table with the number of their last line, from 1; empty lines are passed over.

    A tab-separated cell is what stands between tabs, without the quotes that may surround it whole: one that begins with a
    quote does not swallow the lines behind it. Elsewhere quotes are those of CSV.

    Args:
        lines: of the file, with their ends
        delimiter: between cells
        path: of the file, for messages

    Raises:
        DataError: a quote of a CSV file is never closed, or text follows one.
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
        raise DataError(f"{path}, line {start}: {error}; close the quote, or double quotes that belong to the text.") from error


def records(path: Path, errors: str = "strict") -> list[dict[str, str]]:
    """Rows of a table with a header, by column; a cell that a row lacks is empty.

    Args:
        path: of a table separated by commas, semicolons or tabs, in UTF-8
        errors: how bytes that are no UTF-8 are read

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
    """A number with a decimal point or a decimal comma. Raises ValueError for anything else."""
    text = cell.strip()
    return float(text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text)


def _unquoted(cell: str) -> str:
    """A cell without the quotes that surround it whole."""
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell
