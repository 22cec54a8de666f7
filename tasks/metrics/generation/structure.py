"""What returns within a piece: likeness of its beats, by how far apart they are, and bars that are repeated."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.piece import DURATION, ONSET, PITCH, Piece
from tasks.metrics.generation.arrays import roll_array
from tasks.metrics.generation.resampled import Estimate, mean

LAGS = 32  # beats


def self_similarity(piece: Piece, steps: int = 4) -> NDArray[np.float64]:
    """Likeness in [0, 1] of every beat to every other (beats, beats): pitches both sound over pitches either sounds.

    Pitches count by how long they sound in a beat. Two silent beats are alike. A pickup is filled up to whole beats.
    """
    whole = piece.at(steps)
    beat = max(1, 4 * steps // piece.beat_type)
    roll = roll_array(piece, steps)
    ahead = -whole.pickup % beat
    roll = np.pad(roll, ((ahead, -(len(roll) + ahead) % beat), (0, 0))).astype(np.float64)
    held = roll.reshape(-1, beat, 128).sum(1)
    held = held[:, held.any(0)]
    total = held.sum(1)
    # Of two amounts the sum is both minima and maxima together: no third dimension has to be kept for the maxima.
    both = np.zeros((len(held), len(held)))
    for pitch in held.T:
        both += np.minimum(pitch[:, None], pitch)
    either = total[:, None] + total - both
    return np.where(either > 0, both / np.maximum(either, 1e-9), 1.0)


def lag_profile(piece: Piece, lags: int = LAGS, steps: int = 4) -> NDArray[np.float64]:
    """Mean likeness of beats 1, 2, ... `lags` beats apart, (lags,); NaN where the piece is shorter."""
    likeness = self_similarity(piece, steps)
    return np.array([np.diagonal(likeness, lag).mean() if lag < len(likeness) else np.nan for lag in range(1, lags + 1)])


def profile(pieces: Sequence[Piece], lags: int = LAGS, steps: int = 4) -> list[Estimate]:
    """Lag profile of a set, an estimate a lag."""
    rows = np.array([lag_profile(piece, lags, steps) for piece in pieces]).reshape(-1, lags)
    return [mean(column) for column in rows.T]


def repeated_bars(piece: Piece, steps: int = 4) -> float:
    """Share of bars after the first whose notes an earlier bar had too, at the same places; NaN where there is only one.

    A note belongs to the bar it begins in; bars without a note are not counted.
    """
    piece = piece.at(steps)
    onset = piece.notes[:, ONSET] - piece.pickup
    bar = onset // max(piece.bar, 1)
    notes = np.stack([onset - bar * piece.bar, piece.notes[:, DURATION], piece.notes[:, PITCH]], 1)
    order = np.lexsort((*notes.T, bar))
    bars, starts = np.unique(bar[order], return_index=True)
    known = {part.tobytes() for part in np.split(notes[order], starts[1:])} if len(bars) else set()
    return 1 - (len(known) - 1) / (len(bars) - 1) if len(bars) > 1 else float("nan")


def repetition(pieces: Sequence[Piece], steps: int = 4) -> Estimate:
    """Mean share of repeated bars of a set."""
    return mean([repeated_bars(piece, steps) for piece in pieces])
