"""Time grid: ticks -> frames and bars; pieces cut and joined.

A frame is one step; a quarter note has `steps` of them. Frame 0 begins at tick 0, with the pickup. Onsets and ends are rounded to
the nearest step, and every note lasts at least one.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import lcm

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.piece import DURATION, ONSET, Piece, in_order

VELOCITY_WRITTEN = 80
"""Velocity of decoded notes: views do not represent velocities."""


def frames_of(piece: Piece, steps: int) -> int:
    """Number of frames of a piece; the last may be incomplete."""
    return -(-piece.length * steps // piece.ticks)


def nearest(ticks: NDArray | int, piece: Piece, steps: int) -> NDArray[np.int64]:
    """Nearest step of each tick."""
    return (np.asarray(ticks, np.int64) * 2 * steps + piece.ticks) // (2 * piece.ticks)


def cells_of(events: NDArray, piece: Piece, steps: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First frame, and frame after the last, of events (n, 2+) whose first columns are onset and duration in ticks.

    Events that last to the end of the piece last to the end of its last frame.
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
    """Template with ticks that are a multiple of the steps, its own if possible."""
    return template.at(lcm(template.ticks, steps))


def length_of(template: Piece, frames: int, steps: int) -> int:
    """Length in ticks of `frames` frames in a template of `on_ticks`; its own length if it has as many frames."""
    return template.length if frames == frames_of(template, steps) else frames * template.ticks // steps


def bar_lines(piece: Piece) -> NDArray[np.int64]:
    """Start ticks of bars: 0 for a pickup, then every downbeat; a change of metre begins a bar."""
    lines = [np.zeros(min(piece.pickup, 1), np.int64)]
    for begin, end, bar in _stretches(piece):
        lines.append(np.arange(begin, end, bar))
    return np.concatenate(lines)


def bar_edges(piece: Piece) -> NDArray[np.int64]:
    """Start ticks of bars 1, 2, ... (no pickup) and the end of the last as a full bar; at least one bar."""
    stretches = _stretches(piece)
    begins = np.concatenate([np.arange(begin, end, bar) for begin, end, bar in stretches])
    if not len(begins):
        begins = np.array([piece.pickup])
    return np.append(begins, begins[-1] + stretches[-1][2])


def whole_bars(piece: Piece, end: int) -> int:
    """Tick of the bar line at or after `end`, at most the length of the piece."""
    lines = np.append(bar_lines(piece), piece.length)
    return int(lines[min(np.searchsorted(lines, end), len(lines) - 1)])


def bar_of(piece: Piece, steps: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ticks times `steps` since the last downbeat, beats of the bar and beat type of each frame, (frames,) each."""
    now = np.arange(frames_of(piece, steps)) * piece.ticks
    since, beats, types = (np.zeros(len(now), np.int64) for _ in range(3))
    first = True
    for (begin, _, bar), (_, count, kind) in zip(_stretches(piece), _metres(piece), strict=True):
        here = slice(None) if first else now >= begin * steps
        since[here] = (now[here] - begin * steps) % (bar * steps)  # a pickup is the end of a bar
        beats[here], types[here], first = count, kind, False
    return since, beats, types


def _metres(piece: Piece) -> list[tuple[int, int, int]]:
    """Tick, beats and beat type of the metres of full bars; the first begins at the first downbeat."""
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

    Raises ValueError if there is nothing to fill.
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


def excerpt(piece: Piece, begin: int, end: int) -> Piece:
    """Cut ticks [begin, end) out of a piece, notes included; metre, tempo and chord in force at `begin` move to 0."""
    lines = bar_lines(piece)
    lines = lines[lines >= max(begin, piece.pickup)]
    return replace(
        piece,
        notes=in_order(_lasting(piece.notes, begin, end)),
        drums=_lasting(piece.drums, begin, end),
        length=end - begin,
        pickup=min(int(lines[0]), end) - begin if len(lines) else end - begin,
        metres=_in_force(piece.metres, begin, end),
        tempi=_in_force(piece.tempi, begin, end),
        chords=_in_force(piece.chords, begin, end),
        fermatas=piece.fermatas[(piece.fermatas >= begin) & (piece.fermatas < end)] - begin,
    )


def units(piece: Piece, bars: int = 1, pickup: bool = True) -> list[Piece]:
    """Consecutive excerpts of `bars` bars, the last may be shorter (Bretan et al. 2016 use 1, 2 and 4).

    pickup: return a pickup as a unit of its own, else leave it out
    """
    if bars < 1:
        raise ValueError(f"bars must be positive: {bars}")
    lines = bar_lines(piece)
    downbeats = lines[lines >= piece.pickup]
    edges = [*([0] if piece.pickup and pickup else []), *map(int, downbeats[::bars]), piece.length]
    return [excerpt(piece, begin, end) for begin, end in pairwise(edges) if end > begin]


def join(parts: Sequence[Piece]) -> Piece:
    """Concatenate units in the key and ticks of the first: the inverse of `units`, except for notes that were cut."""
    first = parts[0]
    parts = [part.at(first.ticks) for part in parts]
    begins = np.cumsum([0, *(part.length for part in parts)])

    def moved(name: str) -> NDArray[np.int32]:
        shifted = []
        for part, begin in zip(parts, begins, strict=False):
            events = getattr(part, name).copy()
            events[..., 0 if events.ndim > 1 else slice(None)] += int(begin)
            shifted.append(events)
        return np.concatenate(shifted)

    return replace(
        first,
        notes=in_order(moved("notes")),
        drums=moved("drums"),
        length=int(begins[-1]),
        metres=_unsaid(moved("metres"), begins),
        tempi=_unsaid(moved("tempi"), begins),
        chords=_unsaid(moved("chords"), begins),
        fermatas=moved("fermatas"),
    )


def _lasting(events: NDArray, begin: int, end: int) -> NDArray[np.int32]:
    """Events (n, 2+) cut to [begin, end), relative to begin."""
    stops = np.minimum(events[:, ONSET] + events[:, DURATION], end)
    events, starts = events.copy(), np.maximum(events[:, ONSET], begin)
    events[:, ONSET], events[:, DURATION] = starts - begin, stops - starts
    return events[stops > starts]


def _in_force(events: NDArray, begin: int, end: int) -> NDArray[np.int32]:
    """Events (n, 2+) in force within [begin, end), relative to begin."""
    events = events[events[:, 0] < end].copy()
    first = max(np.searchsorted(events[:, 0], begin, "right") - 1, 0)
    events[:, 0] = np.maximum(events[:, 0] - begin, 0)
    return events[first:]


def _unsaid(events: NDArray, seams: NDArray) -> NDArray[np.int32]:
    """Events (n, 2+) without repetitions of the value in force at a seam."""
    again = np.zeros(len(events), bool)
    again[1:] = (events[1:, 1:] == events[:-1, 1:]).all(1)
    return events[~(again & np.isin(events[:, 0], seams))]
