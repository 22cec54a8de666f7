"""What returns within a piece: likeness of its beats, by how far apart they are, and bars that are repeated."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.piece import DURATION, ONSET, PITCH, Piece
from tasks.generation.metrics.arrays import chords, roll_array
from tasks.metrics.bootstrap import Interval, mean

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


def profile(pieces: Sequence[Piece], lags: int = LAGS, steps: int = 4) -> list[Interval]:
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


def repetition(pieces: Sequence[Piece], steps: int = 4) -> Interval:
    """Mean share of repeated bars of a set."""
    return mean([repeated_bars(piece, steps) for piece in pieces])


# Guards against music that is none: silence, too few or too many notes, one chord or one note for ever.

MEASURES = {
    "empty_rate": "share of frames in which nothing sounds",
    "longest_silence": "quarters",
    "longest_chord": "quarters without a change of what sounds, struck again or held",
    "notes_per_bar": "notes",
    "pitch_entropy": "bits, of the pitches of notes: 0 where all are the same",
    "repeated_notes": "share of notes that repeat the pitch before in their voice",
}
_BOTH = ("notes_per_bar", "pitch_entropy")
"""Measures that may be too small as well as too large."""


def density(pieces: Sequence[Piece], steps: int = 4, resamples: int = 1000) -> dict[str, Interval]:
    """Means of all `MEASURES` over pieces, with 95 % bootstrap intervals."""
    return {name: mean(values, resamples) for name, values in measured(pieces, steps).items()}


def measured(pieces: Sequence[Piece], steps: int = 4) -> dict[str, NDArray[np.float64]]:
    """All `MEASURES` (pieces,); an empty piece is all silence."""
    found = [_measured(piece, steps) for piece in pieces]
    return {name: np.array([one[name] for one in found], np.float64) for name in MEASURES}


def beyond(made: dict[str, NDArray[np.float64]], human: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.bool_]]:
    """Which made pieces (pieces,) lie beyond every human piece, by measure, of what is `measured` of both."""
    found = {}
    for name, values in made.items():
        known = human[name]
        above = values > known.max(initial=-np.inf) if len(known) else np.zeros(len(values), bool)
        below = values < known.min(initial=np.inf) if len(known) and name in _BOTH else np.zeros(len(values), bool)
        found[name] = above | below
    return found


def warnings(pieces: Sequence[Piece], training: Sequence[Piece], steps: int = 4) -> list[str]:
    """A sentence for each piece that lies beyond every training piece."""
    made, human = measured(pieces, steps), measured(training, steps)
    found, said = beyond(made, human), []
    for number, piece in enumerate(pieces):
        odd = [f"{name} {made[name][number]:.2f} ({_bounds(name, human[name])})" for name in MEASURES if found[name][number]]
        if odd:
            said.append(f"{piece.name or number + 1} is unlike any training piece: {', '.join(odd)}")
    return said


def _measured(piece: Piece, steps: int) -> dict[str, float]:
    piece, roll = piece.at(steps), roll_array(piece, steps)
    rows, starts = chords(roll)
    lasting = np.diff(np.append(starts, len(roll))) / steps
    silent = ~rows.any(1)
    pitches = piece.notes[:, PITCH]
    counts = np.unique(pitches, return_counts=True)[1] / max(len(pitches), 1)
    again = sum(int((np.diff(piece.voice(voice)[:, PITCH]) == 0).sum()) for voice in range(piece.voices))
    return {
        "empty_rate": float((~roll.any(1)).mean()) if len(roll) else 1.0,
        "longest_silence": lasting[silent].max(initial=0),
        "longest_chord": lasting[~silent].max(initial=0),
        "notes_per_bar": len(pitches) * piece.bar / max(len(roll), 1),
        "pitch_entropy": -float((counts * np.log2(counts)).sum()) + 0.0,
        "repeated_notes": again / max(len(pitches) - piece.voices, 1),
    }


def _bounds(name: str, human: NDArray[np.float64]) -> str:
    return f"{human.min():.2f} to {human.max():.2f}" if name in _BOTH else f"at most {human.max():.2f}"
