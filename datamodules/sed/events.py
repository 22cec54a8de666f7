"""Sound events of a corpus as flat arrays: clip, class, onset and offset (s)."""

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
    """Clips, including those without events, and their events."""

    names: tuple[str, ...]  # (clips,) file names
    durations: NDArray[np.float64]  # (clips,) s
    classes: tuple[str, ...]
    events: Events

    def select(self, clips: ArrayLike) -> "EventTable":
        """Table of the clips at distinct positions (chosen,), in that order."""
        clips = np.asarray(clips, dtype=np.int64)
        new = np.full(len(self.names), -1)
        new[clips] = np.arange(len(clips))
        events = take(self.events, new[self.events.clip] >= 0)
        events = table(new[events.clip], events.label, events.onset, events.offset)
        return EventTable(tuple(self.names[i] for i in clips), self.durations[clips], self.classes, events)

    def tags(self) -> NDArray[np.bool_]:
        """Occurring classes of each clip, (clips, classes)."""
        tags = np.zeros((len(self.names), len(self.classes)), dtype=bool)
        tags[self.events.clip, self.events.label] = True
        return tags


def table(clip: ArrayLike = (), label: ArrayLike = (), onset: ArrayLike = (), offset: ArrayLike = ()) -> Events:
    """Build a sorted table from columns, each (events,); default: an empty one."""
    clip, label = (np.asarray(x, dtype=np.int64) for x in (clip, label))
    onset, offset = (np.asarray(x, dtype=np.float64) for x in (onset, offset))
    return take(Events(clip, label, onset, offset), np.lexsort((label, offset, onset, clip)))


def take(events: Events, rows: NDArray) -> Events:
    """Select rows by a mask or by positions."""
    return Events(*(column[rows] for column in events))


def clip_offsets(events: Events, durations: NDArray[np.float64]) -> Events:
    """Trim events to the durations of their clips (clips,) s; events that begin after the end are dropped."""
    ends = np.asarray(durations, dtype=np.float64)[events.clip]
    inside = take(events, events.onset < ends)
    return table(inside.clip, inside.label, inside.onset, np.minimum(inside.offset, ends[events.onset < ends]))


class Merged(NamedTuple):
    """Table without overlaps within a class."""

    events: Events
    rows: NDArray[np.int64]  # (merged rows,) positions in the original table
    result_count: int  # number of events after merging those rows


def merge_overlaps(events: Events) -> Merged:
    """Merge overlapping events of one class and clip, including duplicates; adjacent events are kept apart."""
    order = np.lexsort((events.offset, events.onset, events.label, events.clip))
    clip, label, onset, offset = take(events, order)
    group = np.cumsum(np.append(True, (np.diff(clip) != 0) | (np.diff(label) != 0)))[: len(clip)]
    # Latest end so far within a group: with ends ranked by group first, one running maximum serves all groups.
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
    """Format a DCASE table: filename, onset, offset, event_label, tab-separated, times in s with at least three decimals.

    Args:
        names: (clips,)
        classes: names of the labels
        events: events
        empty: include a row with empty cells for every clip without events, as the DCASE 2018 evaluation set does
    """
    lines: list[list[str]] = [[] for _ in names]
    for clip, label, onset, offset in zip(*(column.tolist() for column in events), strict=True):
        lines[clip].append(f"{names[clip]}\t{_seconds(onset)}\t{_seconds(offset)}\t{classes[label]}\n")
    rows = (line or ([f"{name}\t\t\t\n"] if empty else []) for name, line in zip(names, lines, strict=True))
    return "filename\tonset\toffset\tevent_label\n" + "".join("".join(row) for row in rows)


def _seconds(time: float) -> str:
    """Format a time exactly, with at least three decimals."""
    short = f"{time:.3f}"
    return short if float(short) == time else repr(time)
