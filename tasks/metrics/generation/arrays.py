"""Pieces as arrays of voices over a grid, which all musical measures are taken from."""

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.piece import DURATION, ONSET, PITCH, VOICE, Piece

SILENT = -1


def voice_array(piece: Piece, steps: int = 4) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pitch (frames, voices) of each voice, -1 where it is silent, and whether it is struck there (frames, voices).

    A note that begins ends the one before it in its voice; of notes struck at once the highest is taken.

    Args:
        piece: any
        steps: frames of a quarter note; times are rounded to the nearest
    """
    piece = piece.at(steps)
    frames = max(piece.length, int(piece.notes[:, :2].sum(1).max(initial=0)))
    pitch, onset = np.full((frames, piece.voices), SILENT), np.zeros((frames, piece.voices), bool)
    # Of cells written twice the last one stays: notes come sorted by onset, then voice, then pitch.
    note = np.repeat(np.arange(len(piece.notes)), piece.notes[:, DURATION])
    within = np.arange(len(note)) - np.repeat(
        np.cumsum(piece.notes[:, DURATION]) - piece.notes[:, DURATION], piece.notes[:, DURATION]
    )
    pitch[piece.notes[note, ONSET] + within, piece.notes[note, VOICE]] = piece.notes[note, PITCH]
    onset[piece.notes[:, ONSET], piece.notes[:, VOICE]] = True
    return pitch, onset


def chords(pitch: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pitches (chords, voices) of each moment that differs from the one before, and the frame it begins at (chords,).

    A silence of all voices is a chord too: what stands around it does not follow each other.
    """
    new = np.ones(len(pitch), bool)
    new[1:] = (pitch[1:] != pitch[:-1]).any(1)
    return pitch[new], np.flatnonzero(new)
