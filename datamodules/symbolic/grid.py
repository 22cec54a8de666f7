"""The grid in time: which frame a tick falls into, and where bars begin.

A frame is a step, of which a quarter note has `steps`. Frame 0 begins at tick 0, where a pickup does. Onsets and ends go to the
nearest step, and every note lasts at least one.
"""

from math import lcm

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.piece import DURATION, ONSET, Piece

VELOCITY_WRITTEN = 80
"""Of notes that a view decodes: none of them keeps velocities."""


def frames_of(piece: Piece, steps: int) -> int:
    """Frames of a piece, the last of which may be begun only."""
    return -(-piece.length * steps // piece.ticks)


def nearest(ticks: NDArray | int, piece: Piece, steps: int) -> NDArray[np.int64]:
    """The step nearest to each tick."""
    return (np.asarray(ticks, np.int64) * 2 * steps + piece.ticks) // (2 * piece.ticks)


def cells_of(events: NDArray, piece: Piece, steps: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First frame, and frame after the last, of events (n, 2+) whose first columns are onset and duration in ticks.

    What lasts to the end of the piece lasts to the end of its last frame.
    """
    frames = frames_of(piece, steps)
    starts = np.minimum(nearest(events[:, ONSET], piece, steps), max(frames - 1, 0))
    ends = events[:, ONSET].astype(np.int64) + events[:, DURATION]
    stops = np.where(ends >= piece.length, frames, nearest(ends, piece, steps))
    return starts, np.minimum(np.maximum(stops, starts + 1), frames)


def spread(starts: NDArray, stops: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every frame of every event: (cells,) number of the event, (cells,) frame."""
    lasts = np.maximum(stops - starts, 0)
    event = np.repeat(np.arange(len(starts)), lasts)
    return event, np.arange(len(event)) - np.repeat(np.cumsum(lasts) - lasts, lasts) + starts[event]


def on_ticks(template: Piece, steps: int) -> Piece:
    """The template at ticks that hold a step exactly: its own, where they do."""
    return template.at(lcm(template.ticks, steps))


def length_of(template: Piece, frames: int, steps: int) -> int:
    """Ticks of so many frames in a template of `on_ticks`: its own length where it has as many."""
    return template.length if frames == frames_of(template, steps) else frames * template.ticks // steps


def bar_lines(piece: Piece) -> NDArray[np.int64]:
    """Ticks at which bars begin: 0 where there is a pickup, then every downbeat; a change of metre begins a bar."""
    lines = [np.zeros(min(piece.pickup, 1), np.int64)]
    for begin, end, bar in _stretches(piece):
        lines.append(np.arange(begin, end, bar))
    return np.concatenate(lines)


def bar_edges(piece: Piece) -> NDArray[np.int64]:
    """Ticks at which bars 1, 2, ... begin, the pickup left out, and at which the last one ends were it full; at least one bar."""
    stretches = _stretches(piece)
    begins = np.concatenate([np.arange(begin, end, bar) for begin, end, bar in stretches])
    if not len(begins):
        begins = np.array([piece.pickup])
    return np.append(begins, begins[-1] + stretches[-1][2])


def whole_bars(piece: Piece, end: int) -> int:
    """Ticks up to the bar line after `end`, or of the piece where it ends before."""
    lines = np.append(bar_lines(piece), piece.length)
    return int(lines[min(np.searchsorted(lines, end), len(lines) - 1)])


def bar_of(piece: Piece, steps: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each frame: the ticks, times `steps`, since the last downbeat, the beats of the bar and its beat type."""
    now = np.arange(frames_of(piece, steps)) * piece.ticks
    since, beats, types = (np.zeros(len(now), np.int64) for _ in range(3))
    first = True
    for (begin, _, bar), (_, count, kind) in zip(_stretches(piece), _metres(piece), strict=True):
        here = slice(None) if first else now >= begin * steps
        since[here] = (now[here] - begin * steps) % (bar * steps)  # a pickup is the end of a bar
        beats[here], types[here], first = count, kind, False
    return since, beats, types


def _metres(piece: Piece) -> list[tuple[int, int, int]]:
    """Tick, beats and beat type of the metres that a bar is counted in; the first from the first downbeat."""
    metres = [tuple(map(int, metre)) for metre in piece.metres]
    before = [metre for metre in metres if metre[0] <= piece.pickup]
    return [(piece.pickup, *before[-1][1:]), *(metre for metre in metres if piece.pickup < metre[0] < piece.length)]


def _stretches(piece: Piece) -> list[tuple[int, int, int]]:
    """Begin, end and bar (ticks) of each stretch of one metre."""
    metres = _metres(piece)
    ends = [metre[0] for metre in metres[1:]] + [max(piece.length, piece.pickup)]
    bars = [max(1, 4 * piece.ticks * beats // kind) for _, beats, kind in metres]
    return [(metre[0], end, bar) for metre, end, bar in zip(metres, ends, bars, strict=True)]


def kept_frames(template: Piece, steps: int, use: str, span: tuple[int, int] | None) -> NDArray[np.bool_]:
    """Frames that a use leaves as they are: those before a span to continue from, those outside a span to fill.

    Raises ValueError where there is nothing to fill.
    """
    frames = np.arange(frames_of(template, steps))
    if use not in ("continue", "inpaint"):
        return np.zeros(len(frames), bool)
    if span is None:
        if use == "inpaint":
            raise ValueError("inpaint needs a span")
        return np.ones(len(frames), bool)
    begin, end = (int(edge) for edge in nearest(np.array(span), template, steps))
    return (frames < begin) if use == "continue" else (frames < begin) | (frames >= end)
