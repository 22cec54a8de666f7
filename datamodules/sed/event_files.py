"""Tables of DCASE and DESED on disk: strong labels, weak labels, file names, durations.

They are tab-separated in spite of `.csv`; a table separated by commas or semicolons is recognised by its header. Numbers may have
decimal commas.
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

SHOWN = 6  # files that a remark names


class StrongLabels(NamedTuple):
    """What a file says of its clips: clips without events are in `names` alone."""

    names: tuple[str, ...]  # (clips,)
    classes: tuple[str, ...]
    events: Events
    remarks: tuple[str, ...]  # one sentence each: rows that were merged, left out or cut
    left_out: tuple[LeftOut, ...] = ()  # rows without usable times or label


class WeakLabels(NamedTuple):
    """Which classes occur in a clip, without times."""

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
    """Read filename, onset, offset, event_label in any order of columns; others are passed over.

    A row without onset, offset and label is a clip without events. Overlapping rows of one class become one event.
    Rows whose times are no times (empty, NaN, negative, offset not after onset) are left out; all three are told in
    the remarks. Numbers may have decimal commas, where commas do not separate cells.

    Args:
        path: of the table
        classes: the labels to expect, in order; by default those that occur, sorted
        names: the clips to expect, in order; by default those that occur, in the order of the file
        durations: (clips,) s of `names`; events are cut there
        strict: a row that would be left out is an error

    Raises:
        DataError: no such file, a column or a row's cell is lacking, an unknown label or clip, no row but bad ones, or,
            if strict, bad times.
    """
    path = Path(path)
    found = dict.fromkeys(names or ())
    good, bad = [], []
    for line, (name, onset, offset, label) in _rows(path, ("filename", "onset", "offset", "event_label")):
        if names is not None and name not in found:
            raise DataError(f"{path}, line {line}: {name!r} is none of the {len(found)} clips of this set.")
        found[name] = None
        if _missing(onset) and _missing(offset) and _missing(label):
            continue
        if flaw := _flaw(onset, offset, label):
            bad.append((line, name, flaw))
        else:
            good.append((line, name, _number(onset), _number(offset), label))
    if bad and not good:
        raise DataError(f"{path} has no row with usable times and label; the first, line {bad[0][0]}: {bad[0][2]} ({bad[0][1]}).")
    if bad and strict:
        raise DataError(f"{path}, line {bad[0][0]}: {bad[0][2]} ({bad[0][1]}); mend the row, or go on without strict.")
    classes = _known(path, [(line, label) for line, *_, label in good], classes)
    clip, label = {name: i for i, name in enumerate(found)}, {name: i for i, name in enumerate(classes)}
    columns = zip(*((clip[name], label[kind], on, off) for _, name, on, off, kind in good), strict=True)
    events, remarks = _tidy(path, table(*columns), list(found), durations)
    rows = tuple(LeftOut("event", f"{path.name}, line {line}", flaw, name) for line, name, flaw in bad)
    return StrongLabels(tuple(found), classes, events, (*_told(path, bad), *remarks), rows)


def read_weak(path: str | Path, classes: Sequence[str] | None = None) -> WeakLabels:
    """Read filename and event_labels, separated by commas or semicolons within the cell; a clip may have none.

    Raises:
        DataError: no such file, a column is lacking, or an unknown label.
    """
    path = Path(path)
    found: dict[str, list[str]] = {}
    labels = []
    for line, (name, cell) in _rows(path, ("filename", "event_labels")):
        parts = [part.strip() for part in cell.replace(";", ",").split(",") if not _missing(part)]
        found.setdefault(name, []).extend(parts)
        labels += [(line, part) for part in parts]
    classes = _known(path, labels, classes)
    tags = np.zeros((len(found), len(classes)), dtype=bool)
    for row, parts in zip(tags, found.values(), strict=True):
        row[[classes.index(part) for part in parts]] = True
    return WeakLabels(tuple(found), classes, tags)


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read the column filename of any table, each name once. Raises DataError without it."""
    return tuple(dict.fromkeys(name for _, (name,) in _rows(Path(path), ("filename",))))


def read_durations(path: str | Path) -> dict[str, float]:
    """Read filename and duration, s. Raises DataError where a column is lacking or a duration is not positive."""
    found = {}
    for line, (name, cell) in _rows(Path(path), ("filename", "duration")):
        seconds = _number(cell)
        if not 0 < seconds < math.inf:
            raise DataError(f"{path}, line {line}: the duration of {name} is {cell!r}, expected seconds.")
        found[name] = seconds
    return found


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the wanted cells of every row that has a file name."""
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
                    raise DataError(f"{path}, line {line}: the row names no file.")
                yield line, cells


def _known(path: Path, labels: list[tuple[int, str]], classes: Sequence[str] | None) -> tuple[str, ...]:
    """The classes. Raises DataError that names every label which is none of them."""
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
    """What is wrong with a row, in words."""
    start, end = _number(onset), _number(offset)
    if _missing(label):
        return "an event without a label"
    if not (math.isfinite(start) and math.isfinite(end)):
        return f"times {onset!r} and {offset!r} are not two numbers"
    if start < 0:
        return f"onset {onset} is negative"
    return f"offset {offset} is not after onset {onset}" if end <= start else None


def _tidy(path: Path, events: Events, names: list[str], durations: NDArray[np.float64] | None) -> tuple[Events, list[str]]:
    """Merge overlaps and cut at the ends of the clips; one sentence for each that happened."""
    remarks = []
    merged = merge_overlaps(events)
    if len(merged.rows):
        files = _listed([names[i] for i in np.unique(events.clip[merged.rows])])
        before, after = len(merged.rows), merged.made
        told = f"{before - after} overlaps within a class: {before} rows merged into {after} events"
        remarks.append(f"{path}: {told}, in {files}.")
    if durations is None:
        return merged.events, remarks
    late = merged.events.offset > np.asarray(durations)[merged.events.clip]
    if late.any():
        files = _listed([names[i] for i in np.unique(merged.events.clip[late])])
        remarks.append(f"{path}: {late.sum()} events end after their clip and are cut there, in {files}.")
    return clip_offsets(merged.events, durations), remarks


def _told(path: Path, bad: list[tuple[int, str, str]]) -> list[str]:
    if not bad:
        return []
    line, _, flaw = bad[0]
    files = _listed(list(dict.fromkeys(name for _, name, _ in bad)))
    return [f"{path}: {len(bad)} rows without usable times or label left out, the first in line {line} ({flaw}), in {files}."]


def _listed(names: list[str]) -> str:
    """ "2 files: a.wav, b.wav"."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} file{'s' * (len(names) > 1)}: {', '.join(names[:SHOWN])}{more}"
