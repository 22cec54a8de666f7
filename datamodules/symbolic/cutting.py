"""Pieces cut at ticks or at bar lines, and put together again."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.grid import bar_lines
from datamodules.symbolic.piece import DURATION, ONSET, Piece, in_order


def excerpt(piece: Piece, begin: int, end: int) -> Piece:
    """Ticks begin to end; a note over an edge is cut there. Metre, tempo and chord in force at `begin` stand at 0."""
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
    """Consecutive excerpts of so many bars, the last of which may be shorter (Bretan et al. 2016 use 1, 2 and 4).

    pickup: whether a pickup is a unit of its own, or left out
    """
    if bars < 1:
        raise ValueError(f"bars must be positive: {bars}")
    lines = bar_lines(piece)
    downbeats = lines[lines >= piece.pickup]
    edges = [*([0] if piece.pickup and pickup else []), *map(int, downbeats[::bars]), piece.length]
    return [excerpt(piece, begin, end) for begin, end in pairwise(edges) if end > begin]


def join(parts: Sequence[Piece]) -> Piece:
    """Units one after the other, in the key and ticks of the first: the inverse of `units`, but for notes that were cut.

    A unit that is nothing but a pickup makes the pickup of the whole.
    """
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
    """Events (n, 2+) that sound within begin to end, cut there, counted from begin."""
    stops = np.minimum(events[:, ONSET] + events[:, DURATION], end)
    events, starts = events.copy(), np.maximum(events[:, ONSET], begin)
    events[:, ONSET], events[:, DURATION] = starts - begin, stops - starts
    return events[stops > starts]


def _in_force(events: NDArray, begin: int, end: int) -> NDArray[np.int32]:
    """Events (n, 2+) that each hold until the next, within begin to end, counted from begin."""
    events = events[events[:, 0] < end].copy()
    first = max(np.searchsorted(events[:, 0], begin, "right") - 1, 0)
    events[:, 0] = np.maximum(events[:, 0] - begin, 0)
    return events[first:]


def _unsaid(events: NDArray, seams: NDArray) -> NDArray[np.int32]:
    """Events (n, 2+) without those that only say again at a seam what holds there."""
    again = np.zeros(len(events), bool)
    again[1:] = (events[1:, 1:] == events[:-1, 1:]).all(1)
    return events[~(again & np.isin(events[:, 0], seams))]
