"""Text annotations -> beats (one number per line), events (two numbers per line) and Audacity labels."""

import re
from pathlib import Path

import numpy as np

from datamodules.common.delimited import number
from datamodules.common.errors import DataError

_SEPARATOR = re.compile(r"[\s,;]+")
_NUMBER = re.compile(r"[+-]?\d+(,\d+)?")


def read_beats(path: Path) -> np.ndarray:
    """Beats (beats,) float64 in s, rising: the first number of each line. Raises DataError as `read_events`."""
    return _rising(path, _table(path, 1))[:, 0]


def read_events(path: Path) -> np.ndarray:
    """Events (events, 2) float64, rising: s in the score, s in the performance; the first two numbers of each line.

    Columns are separated by commas, semicolons, tabs or spaces; a header and comments (# or %) are skipped.
    Raises DataError if the file is missing, damaged, not rising or shorter than two lines.
    """
    return _rising(path, _table(path, 2))


def _table(path: Path, columns: int) -> np.ndarray:
    rows = []
    for row, line in enumerate(_lines(path), 1):
        if not line.strip() or line.lstrip()[0] in "#%":
            continue
        try:
            rows.append([number(cell) for cell in _cells(line.strip(), columns)[:columns]])
        except ValueError as error:
            if rows:
                raise DataError(f"{path} line {row} is not a time ({line.strip()[:40]}): expected seconds.") from error
            continue  # a header
        if len(rows[-1]) < columns:
            raise DataError(f"{path} line {row} has one column: expected score_s and performance_s.")
    return np.array(rows, float).reshape(-1, columns)


def _cells(line: str, columns: int) -> list[str]:
    """Cells of a line; a comma is a decimal comma if the line has no point and another column separator."""
    cells = re.split(r"[\s;]+", line)
    commas = "." not in line and len(cells) >= columns and all(map(_NUMBER.fullmatch, cells[:columns]))
    return cells if commas else _SEPARATOR.split(line)


def _rising(path: Path, table: np.ndarray) -> np.ndarray:
    if len(table) < 2 or not np.isfinite(table).all():
        kind = "times" if np.isfinite(table).all() else "times, not all of them numbers"
        raise DataError(f"{path} lists {len(table)} {kind}: expected two or more, in seconds.")
    if np.any(np.diff(table, axis=0) <= 0):
        line = int(np.flatnonzero((np.diff(table, axis=0) <= 0).any(1))[0])
        raise DataError(f"{path} does not rise: after {table[line].tolist()} comes {table[line + 1].tolist()}.")
    return table


def read_labels(path: Path) -> list[tuple[float, str]]:
    """Start in s and text of each line of an Audacity label file (start, end, text). Raises DataError if damaged or missing."""
    results = []
    for row, line in enumerate(_lines(path), 1):
        cells = line.split("\t")
        if not line.strip():
            continue
        try:
            results.append((number(cells[0]), cells[2].strip()))
        except (ValueError, IndexError) as error:
            raise DataError(f"{path} line {row} is not a label ({line[:40]}): expected start, end and text.") from error
    return results


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): expected a list of times.") from error
