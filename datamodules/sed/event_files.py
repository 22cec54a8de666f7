"""Readers of DCASE and DESED tables: strong labels, weak labels, file names, durations.

The tables are tab-separated in spite of `.csv`; commas or semicolons are recognised by the header. Numbers may have decimal
commas.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.common.delimited import delimiter_of, number, rows
from datamodules.common.errors import DataError
from datamodules.common.left_out import LeftOut
from datamodules.sed.events import Events, clip_offsets, merge_overlaps, table

LOGGED = 6  # files named in a remark


class StrongLabels(NamedTuple):
    """Strong labels of a table; clips without events are in `names` alone."""

    names: tuple[str, ...]  # (clips,)
    classes: tuple[str, ...]
    events: Events
    remarks: tuple[str, ...]  # messages on rows that were merged, left out or trimmed
    left_out: tuple[LeftOut, ...] = ()  # rows without usable times or label


class WeakLabels(NamedTuple):
    """Weak labels of a table: occurring classes without times."""

    names: tuple[str, ...]  # (clips,)
    classes: tuple[str, ...]
    tags: NDArray[np.bool_]  # (clips, classes)


def read_events(
    path: str | Path,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    durations: NDArray[np.float64] | None = None,
    strict: bool = False,
) -> StrongLabels:
    """Read strong labels: columns filename, onset, offset, event_label in any order.

    A row without onset, offset and label is a clip without events. Overlapping rows of one class become one event.
    Rows with invalid times (empty, NaN, negative, offset not after onset) are left out, with a remark.

    Args:
        path: table
        classes: expected labels, in order; default: those that occur, sorted
        names: expected clips, in order; default: those that occur, in the order of the file
        durations: (clips,) s of `names`; events are trimmed there
        strict: raise an error instead of leaving a row out

    Raises:
        DataError: the file or a column is missing, an unknown label or clip, no valid row, or an invalid row if strict.
    """
    path = Path(path)
    known = dict.fromkeys(names or ())
    good, bad = _checked_rows(path, known, names is not None)
    if bad and not good:
        raise DataError(f"{path} has no row with usable times and label; the first, line {bad[0][0]}: {bad[0][2]} ({bad[0][1]}).")
    if bad and strict:
        raise DataError(f"{path}, line {bad[0][0]}: {bad[0][2]} ({bad[0][1]}); correct the row, or go on without strict.")
    classes = _known(path, [(line, label) for line, *_, label in good], classes)
    clip, label = {name: i for i, name in enumerate(known)}, {name: i for i, name in enumerate(classes)}
    columns = zip(*((clip[name], label[kind], on, off) for _, name, on, off, kind in good), strict=True)
    events, remarks = _tidy(path, table(*columns), list(known), durations)
    rows = tuple(LeftOut("event", f"{path.name}, line {line}", flaw, name) for line, name, flaw in bad)
    return StrongLabels(tuple(known), classes, events, (*_bad_row_remark(path, bad), *remarks), rows)


def _checked_rows(path: Path, known: dict[str, None], closed: bool) -> tuple[list[tuple], list[tuple[int, str, str]]]:
    """Valid rows (line, name, onset, offset, label) and invalid ones (line, name, flaw).

    Clips are added to `known`, or must be in it if `closed`.
    """
    good, bad = [], []
    for line, (name, onset, offset, label) in _rows(path, ("filename", "onset", "offset", "event_label")):
        if closed and name not in known:
            raise DataError(f"{path}, line {line}: unknown clip {name!r} ({len(known)} clips in this set).")
        known[name] = None
        if _missing(onset) and _missing(offset) and _missing(label):
            continue
        if flaw := _flaw(onset, offset, label):
            bad.append((line, name, flaw))
        else:
            good.append((line, name, _number(onset), _number(offset), label))
    return good, bad


def read_weak(path: str | Path, classes: Sequence[str] | None = None) -> WeakLabels:
    """Read weak labels: columns filename and event_labels, the labels separated by commas or semicolons.

    Raises:
        DataError: the file or a column is missing, or an unknown label.
    """
    path = Path(path)
    labels_of: dict[str, list[str]] = {}
    labels = []
    for line, (name, cell) in _rows(path, ("filename", "event_labels")):
        parts = [part.strip() for part in cell.replace(";", ",").split(",") if not _missing(part)]
        labels_of.setdefault(name, []).extend(parts)
        labels += [(line, part) for part in parts]
    classes = _known(path, labels, classes)
    tags = np.zeros((len(labels_of), len(classes)), dtype=bool)
    for row, parts in zip(tags, labels_of.values(), strict=True):
        row[[classes.index(part) for part in parts]] = True
    return WeakLabels(tuple(labels_of), classes, tags)


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read the column filename of a table, each name once. Raises DataError if there is none."""
    return tuple(dict.fromkeys(name for _, (name,) in _rows(Path(path), ("filename",))))


def read_durations(path: str | Path) -> dict[str, float]:
    """Read the columns filename and duration (s). Raises DataError if one is missing or a duration is not positive."""
    durations = {}
    for line, (name, cell) in _rows(Path(path), ("filename", "duration")):
        seconds = _number(cell)
        if not 0 < seconds < math.inf:
            raise DataError(f"{path}, line {line}: the duration of {name} is {cell!r}, expected seconds.")
        durations[name] = seconds
    return durations


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of the given columns of each row."""
    if not path.is_file():
        raise DataError(f"{path} does not exist: expected a table with the columns {', '.join(columns)}.")
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = file.readlines()
        table_rows = rows(lines, delimiter_of(lines[0] if lines else ""), path)
        present = [cell.strip() for cell in next(table_rows, (1, []))[1]]
        if lacking := [name for name in columns if name not in present]:
            raise DataError(f"{path} has no column {lacking[0]!r}: its first line must name {', '.join(columns)}.")
        chosen = [present.index(name) for name in columns]
        for line, row in table_rows:
            if any(cell.strip() for cell in row):
                row += [""] * (len(present) - len(row))
                cells = [row[i].strip() for i in chosen]
                if not cells[0]:
                    raise DataError(f"{path}, line {line}: the file name is missing.")
                yield line, cells


def _known(path: Path, labels: list[tuple[int, str]], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Classes, by default those of the labels. Raises DataError with all unknown labels."""
    if classes is None:
        return tuple(sorted({label for _, label in labels}))
    unknown = [(line, label) for line, label in labels if label not in set(classes)]
    if unknown:
        kinds = ", ".join(repr(kind) for kind in dict.fromkeys(label for _, label in unknown))
        many = f" ({len(unknown)} such rows)" if len(unknown) > 1 else ""
        raise DataError(f"{path}, line {unknown[0][0]}: unknown label {kinds}{many}; expected {', '.join(classes)}.")
    return tuple(classes)


def _missing(cell: str) -> bool:
    return cell.strip().lower() in ("", "nan")


def _number(cell: str) -> float:
    try:
        return number(cell)
    except ValueError:
        return math.nan


def _flaw(onset: str, offset: str, label: str) -> str | None:
    """Problem of a row, or None."""
    start, end = _number(onset), _number(offset)
    if _missing(label):
        return "an event without a label"
    if not (math.isfinite(start) and math.isfinite(end)):
        return f"times {onset!r} and {offset!r} are not two numbers"
    if start < 0:
        return f"onset {onset} is negative"
    return f"offset {offset} is not after onset {onset}" if end <= start else None


def _tidy(path: Path, events: Events, names: list[str], durations: NDArray[np.float64] | None) -> tuple[Events, list[str]]:
    """Merge overlapping events and trim them to their clips; returns a remark on each change."""
    remarks = []
    merged = merge_overlaps(events)
    if len(merged.rows):
        files = _listed([names[i] for i in np.unique(events.clip[merged.rows])])
        before, after = len(merged.rows), merged.result_count
        overlaps = f"{before - after} overlaps within a class: {before} rows merged into {after} events"
        remarks.append(f"{path}: {overlaps}, in {files}.")
    if durations is None:
        return merged.events, remarks
    late = merged.events.offset > np.asarray(durations)[merged.events.clip]
    if late.any():
        files = _listed([names[i] for i in np.unique(merged.events.clip[late])])
        remarks.append(f"{path}: {late.sum()} events end after their clip and are trimmed, in {files}.")
    return clip_offsets(merged.events, durations), remarks


def _bad_row_remark(path: Path, bad: list[tuple[int, str, str]]) -> list[str]:
    if not bad:
        return []
    line, _, flaw = bad[0]
    files = _listed(list(dict.fromkeys(name for _, name, _ in bad)))
    return [f"{path}: {len(bad)} rows without usable times or label left out, the first in line {line} ({flaw}), in {files}."]


def _listed(names: list[str]) -> str:
    """ "2 files: a.wav, b.wav"."""
    more = f" and {len(names) - LOGGED} more" if len(names) > LOGGED else ""
    return f"{len(names)} file{'s' * (len(names) > 1)}: {', '.join(names[:LOGGED])}{more}"
