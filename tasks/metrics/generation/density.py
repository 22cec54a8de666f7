"""Guards against music that is none: silence, too few or too many notes, one chord or one note for ever."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.piece import PITCH, Piece
from tasks.metrics.generation.arrays import chords, roll_array
from tasks.metrics.generation.resampled import Estimate, mean

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


def density(pieces: Sequence[Piece], steps: int = 4, resamples: int = 1000) -> dict[str, Estimate]:
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
