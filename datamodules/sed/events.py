"""A corpus of sound events as one flat table: who sounds where, in which clip."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Events(NamedTuple):
    """Events of all clips, sorted by clip, onset, offset and label. A clip without events has no row."""

    clip: NDArray[np.int64]  # (events,) position in the list of clips
    label: NDArray[np.int64]  # (events,) position in the list of classes
    onset: NDArray[np.float64]  # (events,) s
    offset: NDArray[np.float64]  # (events,) s, after the onset


class EventTable(NamedTuple):
    """Clips and what sounds in them; clips without events count too."""

    names: tuple[str, ...]  # (clips,) file names
    durations: NDArray[np.float64]  # (clips,) s
    classes: tuple[str, ...]
    events: Events

    def select(self, clips: ArrayLike) -> "EventTable":
        """The same of some clips, by their distinct positions (chosen,), in that order."""
        clips = np.asarray(clips, dtype=np.int64)
        new = np.full(len(self.names), -1)
        new[clips] = np.arange(len(clips))
        events = take(self.events, new[self.events.clip] >= 0)
        events = table(new[events.clip], events.label, events.onset, events.offset)
        return EventTable(tuple(self.names[i] for i in clips), self.durations[clips], self.classes, events)

    def tags(self) -> NDArray[np.bool_]:
        """Which classes occur in which clip, (clips, classes)."""
        found = np.zeros((len(self.names), len(self.classes)), dtype=bool)
        found[self.events.clip, self.events.label] = True
        return found


def table(clip: ArrayLike = (), label: ArrayLike = (), onset: ArrayLike = (), offset: ArrayLike = ()) -> Events:
    """Sort columns, each (events,), into a table; without arguments an empty one."""
    clip, label = (np.asarray(x, dtype=np.int64) for x in (clip, label))
    onset, offset = (np.asarray(x, dtype=np.float64) for x in (onset, offset))
    return take(Events(clip, label, onset, offset), np.lexsort((label, offset, onset, clip)))


def take(events: Events, rows: NDArray) -> Events:
    """Rows by a mask or by positions."""
    return Events(*(column[rows] for column in events))


def clip_offsets(events: Events, durations: NDArray[np.float64]) -> Events:
    """Cut events at the ends of their clips, (clips,) s; what begins after the end is left out."""
    ends = np.asarray(durations, dtype=np.float64)[events.clip]
    inside = take(events, events.onset < ends)
    return table(inside.clip, inside.label, inside.onset, np.minimum(inside.offset, ends[events.onset < ends]))


class Merged(NamedTuple):
    """A table without overlaps within a class, and what had to be merged for it."""

    events: Events
    rows: NDArray[np.int64]  # (merged rows,) positions in the table before
    made: int  # events that those rows became


def merge_overlaps(events: Events) -> Merged:
    """Join events of one class and clip that overlap, duplicates included; events that only touch stay apart."""
    order = np.lexsort((events.offset, events.onset, events.label, events.clip))
    clip, label, onset, offset = take(events, order)
    group = np.cumsum(np.append(True, (np.diff(clip) != 0) | (np.diff(label) != 0)))[: len(clip)]
    # The latest end so far within a group: ranked by group first, one running maximum serves all groups.
    by_end = np.lexsort((offset, group))
    reached = offset[by_end[np.maximum.accumulate(np.argsort(by_end))]]
    starts = np.ones(len(clip), dtype=bool)
    starts[1:] = (group[1:] != group[:-1]) | (onset[1:] >= reached[:-1])
    first = np.flatnonzero(starts)
    size = np.diff(np.append(first, len(clip)))
    ends = np.maximum.reduceat(offset, first) if len(first) else offset
    joined = np.repeat(size > 1, size)
    return Merged(table(clip[first], label[first], onset[first], ends), np.sort(order[joined]), int((size > 1).sum()))


def to_tsv(names: Sequence[str], classes: Sequence[str], events: Events, empty: bool = True) -> str:
    """Text of a DCASE table: filename, onset, offset, event_label, tab-separated, s with three decimals or more.

    Args:
        names: (clips,)
        classes: names of the labels
        events: to write
        empty: write a row with empty cells for every clip without events, as the DCASE 2018 evaluation set does
    """
    lines: list[list[str]] = [[] for _ in names]
    for clip, label, onset, offset in zip(*(column.tolist() for column in events), strict=True):
        lines[clip].append(f"{names[clip]}\t{_seconds(onset)}\t{_seconds(offset)}\t{classes[label]}\n")
    rows = (line or ([f"{name}\t\t\t\n"] if empty else []) for name, line in zip(names, lines, strict=True))
    return "filename\tonset\toffset\tevent_label\n" + "".join("".join(row) for row in rows)


def _seconds(time: float) -> str:
    """At least milliseconds, and as many digits as the number needs to come back the same."""
    short = f"{time:.3f}"
    return short if float(short) == time else repr(time)
