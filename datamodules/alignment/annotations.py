"""Text annotations: beats (a number a line) and events (two numbers a line)."""

import re
from pathlib import Path

import numpy as np

from datamodules.common.delimited import number
from datamodules.common.errors import DataError

_SEPARATOR = re.compile(r"[\s,;]+")
_NUMBER = re.compile(r"[+-]?\d+(,\d+)?")


def read_beats(path: Path) -> np.ndarray:
    """The first number of each line (beats,) float64, s, rising. Raises DataError as `read_events`."""
    return _rising(path, _table(path, 1))[:, 0]


def read_events(path: Path) -> np.ndarray:
    """The first two numbers of each line (events, 2) float64: s in the score, s in the performance, both rising.

    They may be set apart by commas, semicolons, tabs or spaces, with a header; lines that begin with # or % are notes.
    Raises DataError for a file that is missing, damaged, does not rise or has fewer than two lines.
    """
    return _rising(path, _table(path, 2))


def _table(path: Path, columns: int) -> np.ndarray:
    rows = []
    for place, line in enumerate(_lines(path), 1):
        if not line.strip() or line.lstrip()[0] in "#%":
            continue
        try:
            rows.append([number(cell) for cell in _cells(line.strip(), columns)[:columns]])
        except ValueError as error:
            if rows:
                raise DataError(f"{path} line {place} is no time ({line.strip()[:40]}): expected seconds.") from error
            continue  # a header
        if len(rows[-1]) < columns:
            raise DataError(f"{path} line {place} has one column: expected score_s and performance_s.")
    return np.array(rows, float).reshape(-1, columns)


def _cells(line: str, columns: int) -> list[str]:
    """Numbers of a line; a comma is a decimal one where no point stands and something else sets the columns apart."""
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
    """Lines of an Audacity label file, start, end and text with tabs between: starts in s with their texts.

    Raises DataError for a file that is missing or damaged.
    """
    results = []
    for place, line in enumerate(_lines(path), 1):
        cells = line.split("\t")
        if not line.strip():
            continue
        try:
            results.append((number(cells[0]), cells[2].strip()))
        except (ValueError, IndexError) as error:
            raise DataError(f"{path} line {place} is no label ({line[:40]}): expected start, end and text.") from error
    return results


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): expected a list of times.") from error
