"""Tables of clips and tags: CSV or TSV of spreadsheets and pandas -> text columns and labels (rows, tags)."""

import ast
import logging
import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.common import delimited
from datamodules.common.errors import DataError

log = logging.getLogger(__name__)

BINARY = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}
MISSING = ("", "nan", "none", "null", "<na>")
UNNAMED = ("", "unnamed: 0")
"""Header of the row numbers that pandas writes by default."""


class TextTable(NamedTuple):
    """Rectangular table of text."""

    path: Path
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """Stripped cells of a column. Raises DataError if there is no such column."""
        if name not in self.header:
            columns = ", ".join(self.header[:8])
            raise DataError(f"{self.path} has no column {name!r} (columns: {columns}): set --data.file_column or the like.")
        index = self.header.index(name)
        return [row[index].strip() for row in self.rows]


def read_table(path: Path) -> TextTable:
    """Read a table separated by commas, semicolons or tabs.

    Raises:
        DataError: the file is missing, not UTF-8, empty or not rectangular.
    """
    if not path.is_file():
        raise DataError(
            f"{path} does not exist: give the table of your files with --data.csv, or put the files of each tag into a folder "
            f"with its name."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: save the table as CSV in UTF-8.") from error
    lines = text.splitlines(keepends=True)
    rows = [row for _, row in delimited.rows(lines, delimited.delimiter_of(lines[0] if lines else ""), path)]
    if len(rows) < 2:
        raise DataError(f"{path} lists nothing: expected a header and one row per file.")
    for line, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise DataError(f"{path}, row {line}: expected {len(rows[0])} cells as in the header, got {len(row)}.")
    return TextTable(path, [name.strip() for name in rows[0]], rows[1:])


def binary_labels(table: TextTable, other: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Tags in columns of 0 and 1 (also 0.0 and 1.0, False and True), except `other` columns, and labels (rows, tags) uint8.

    Empty cells count as 0, which is logged.
    """
    names = [name for name in table.header if name not in other and name.lower() not in UNNAMED]
    cells = {name: [cell.lower() for cell in table.column(name)] for name in names}
    names = [name for name in names if set(cells[name]) <= {*BINARY, *MISSING} and set(cells[name]) & {*BINARY}]
    columns = [[BINARY.get(cell, 0.0) for cell in cells[name]] for name in names]
    _log_missing(table, {name: sum(cell in MISSING for cell in cells[name]) for name in names})
    return names, np.array(columns, np.uint8).reshape(len(names), len(table.rows)).T


def score_labels(table: TextTable, patterns: Sequence[str], threshold: float) -> tuple[list[str], np.ndarray]:
    """Tags in columns of scores, and labels (rows, tags) uint8, 1 from the threshold; missing values count as 0 (logged).

    patterns: names or patterns of the columns; the fixed beginning of a pattern is removed from the tag's name

    Raises:
        DataError: a cell is not a number.
    """
    columns = list(dict.fromkeys(name for pattern in patterns for name in table.header if fnmatchcase(name, pattern)))
    scores = np.array([_scores(table, name) for name in columns]).reshape(len(columns), len(table.rows)).T
    _log_missing(table, {name: int(np.isnan(scores[:, i]).sum()) for i, name in enumerate(columns)})
    return [_short(name, patterns) for name in columns], (scores >= threshold).astype(np.uint8)


def listed_labels(table: TextTable, column: str, separator: str) -> tuple[list[str], np.ndarray]:
    """Tags listed in one column, by a separator or as a Python list (pandas), and labels (rows, tags) uint8."""
    lists = [_listed(cell, separator) for cell in table.column(column)]
    names = sorted({tag for tags in lists for tag in tags})
    position = {name: i for i, name in enumerate(names)}
    labels = np.zeros((len(lists), len(names)), np.uint8)
    for row, tags in enumerate(lists):
        labels[row, [position[tag] for tag in tags]] = 1
    return names, labels


def _listed(cell: str, separator: str) -> list[str]:
    if cell.lower() in MISSING:
        return []
    if cell.startswith("[") and cell.endswith("]"):
        try:
            return [str(tag).strip() for tag in ast.literal_eval(cell)]
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass  # a tag may have brackets
    return [tag for part in cell.split(separator) if (tag := part.strip())]


def _scores(table: TextTable, name: str) -> list[float]:
    values = []
    for line, cell in enumerate(table.column(name), 2):
        text = cell.lower()
        try:
            values.append(BINARY[text] if text in BINARY else math.nan if text in MISSING else delimited.number(cell))
        except ValueError as error:
            raise DataError(f"{table.path}, row {line}: {error}; tag columns must hold numbers.") from error
    return values


def _short(column: str, patterns: Sequence[str]) -> str:
    """Name of a column without the fixed beginning of the pattern that matched it."""
    for pattern in patterns:
        if fnmatchcase(column, pattern):
            return column.removeprefix(pattern.split("*")[0]) if "*" in pattern else column
    return column


def _log_missing(table: TextTable, missing: dict[str, int]) -> None:
    names = [name for name, count in missing.items() if count]
    if names:
        more = f" and {len(names) - 5} more columns" if len(names) > 5 else ""
        count = sum(missing.values())
        log.warning("%s: %d empty cells count as 0 in %s%s.", table.path, count, ", ".join(names[:5]), more)
