"""Arrays for measures of music: piece -> pitches per voice, piano roll and chords on a grid."""

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece

SILENT = -1


def voice_array(piece: Piece, steps: int = 4) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pitches (frames, voices), -1 for silence, and onsets (frames, voices).

    A note ends the previous one in its voice; of simultaneous onsets the highest is used.

    Args:
        piece: piece
        steps: frames per quarter note, to which times are rounded
    """
    piece = piece.at(steps)
    shape = (_frames(piece), piece.voices)
    pitch, onset = np.full(shape, SILENT), np.zeros(shape, bool)
    # The last value of a cell is kept: notes are sorted by onset, voice and pitch.
    note, frame = _cells(piece.notes)
    pitch[frame, piece.notes[note, VOICE]] = piece.notes[note, PITCH]
    onset[piece.notes[:, ONSET], piece.notes[:, VOICE]] = True
    return pitch, onset


def roll_array(piece: Piece, steps: int = 4) -> NDArray[np.bool_]:
    """Piano roll of all voices (frames, 128)."""
    piece = piece.at(steps)
    roll = np.zeros((_frames(piece), 128), bool)
    note, frame = _cells(piece.notes)
    roll[frame, piece.notes[note, PITCH].clip(0, 127)] = True
    return roll


def chords(frames: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """Frames that differ from the previous one (chords, voices or pitches), and their indices (chords,).

    Silence of all voices is a chord too, so that the chords around it are not successive.
    """
    new = np.ones(len(frames), bool)
    new[1:] = (frames[1:] != frames[:-1]).any(1)
    return frames[new], np.flatnonzero(new)


def _frames(piece: Piece) -> int:
    return max(piece.length, int(piece.notes[:, :2].sum(1).max(initial=0)))


def _cells(notes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sounding frames of all notes: index of the note (cells,) and frame (cells,)."""
    duration = notes[:, DURATION].astype(np.int64)
    note = np.repeat(np.arange(len(notes)), duration)
    within = np.arange(len(note)) - np.repeat(np.cumsum(duration) - duration, duration)
    return note, notes[note, ONSET] + within
