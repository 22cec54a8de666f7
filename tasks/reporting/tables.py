"""Tables: rows (column -> value) -> CSV file or Markdown text."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.writers.output_files import whole


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], everywhere: Mapping[str, Any] | None = None) -> Path:
    """Write rows as CSV with columns in order of first appearance; None and NaN become empty cells.

    Args:
        path: file to write, replaced atomically; its folder is created
        rows: column -> value
        everywhere: columns with the same value in all rows, such as data set, subset, split and policy
    """
    filled = [{**row, **(everywhere or {})} for row in rows]
    columns = list(dict.fromkeys(column for row in filled for column in row))
    with whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: "" if _missing(v) else v for k, v in row.items()} for row in filled)
    return path


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table padded to equal widths; None and NaN become a dash."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    if _missing(value) or value == "":
        return "-"
    return str(value).replace("|", "\\|")
