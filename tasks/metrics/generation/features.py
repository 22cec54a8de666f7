"""Nine features of a piece by which sets of music are compared (Yang and Lerch 2020), taken on the grid in any metre."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.piece import DURATION, ONSET, PITCH, VOICE, Piece

LENGTHS = np.array([4, 2, 1, 0.5, 0.25, 3, 1.5, 0.75, 0.375, 4 / 3, 2 / 3, 1 / 3])
"""Classes of note length in quarters: whole to 16th, dotted from the half on, triplets of half, quarter and eighth."""
FEATURES = {
    "pitch_count": 1,
    "pitch_classes": 12,
    "pitch_class_transitions": 144,
    "pitch_range": 1,
    "interval": 1,
    "notes_per_bar": 1,
    "inter_onset": 1,
    "note_lengths": 12,
    "note_length_transitions": 144,
}
"""Features and their sizes. Histograms and matrices add up to 1; pitches and intervals are in semitones, times in quarters."""


def features(pieces: Sequence[Piece], steps: int = 4) -> dict[str, NDArray[np.float64]]:
    """All features (pieces, size), zeros where a piece has no notes; what follows what is read within each voice.

    Args:
        pieces: any
        steps: frames of a quarter note
    """
    found = [_features(piece.at(steps), steps) for piece in pieces]
    return {name: np.array([one[name] for one in found], np.float64).reshape(-1, size) for name, size in FEATURES.items()}


def _features(piece: Piece, steps: int) -> dict[str, NDArray[np.float64] | float]:
    notes, before, after = piece.notes, *_neighbours(piece.notes)
    steps_up, between = after[:, PITCH] - before[:, PITCH], after[:, ONSET] - before[:, ONSET]
    kinds, kinds_after = _kind(before, steps), _kind(after, steps)
    return {
        "pitch_count": len(np.unique(notes[:, PITCH])),
        "pitch_classes": _shares(notes[:, PITCH] % 12, 12),
        "pitch_class_transitions": _shares(before[:, PITCH] % 12 * 12 + after[:, PITCH] % 12, 144),
        "pitch_range": np.ptp(notes[:, PITCH]) if len(notes) else 0,
        "interval": np.abs(steps_up).mean() if len(before) else 0,
        "notes_per_bar": len(notes) * piece.bar / max(piece.length, 1),
        "inter_onset": between.mean() / steps if len(before) else 0,
        "note_lengths": _shares(_kind(notes, steps), 12),
        "note_length_transitions": _shares(kinds * 12 + kinds_after, 144),
    }


def _neighbours(notes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Notes (n, 5) that follow each other in a voice: those before and those after. Of notes struck at once, the highest."""
    notes = notes[np.lexsort((notes[:, PITCH], notes[:, ONSET], notes[:, VOICE]))]
    highest = np.ones(len(notes), bool)
    highest[:-1] = (notes[1:, [VOICE, ONSET]] != notes[:-1, [VOICE, ONSET]]).any(1)
    lines = notes[highest]
    together = lines[1:, VOICE] == lines[:-1, VOICE]
    return lines[:-1][together], lines[1:][together]


def _kind(notes: NDArray[np.int32], steps: int) -> NDArray[np.int64]:
    """The class of each note's length: the one nearest by ratio."""
    return np.abs(np.log(notes[:, DURATION, None] / steps / LENGTHS)).argmin(1)


def _shares(classes: NDArray, count: int) -> NDArray[np.float64]:
    return np.bincount(classes, minlength=count) / max(len(classes), 1)
