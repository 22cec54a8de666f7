"""Pieces as arrays of voices over a grid, which all musical measures are taken from."""

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece

SILENT = -1


def voice_array(piece: Piece, steps: int = 4) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pitch (frames, voices) of each voice, -1 where it is silent, and whether it is struck there (frames, voices).

    A note that begins ends the one before it in its voice; of notes struck at once the highest is taken.

    Args:
        piece: any
        steps: frames of a quarter note; times are rounded to the nearest
    """
    piece = piece.at(steps)
    shape = (_frames(piece), piece.voices)
    pitch, onset = np.full(shape, SILENT), np.zeros(shape, bool)
    # Of cells written twice the last one stays: notes come sorted by onset, then voice, then pitch.
    note, frame = _cells(piece.notes)
    pitch[frame, piece.notes[note, VOICE]] = piece.notes[note, PITCH]
    onset[piece.notes[:, ONSET], piece.notes[:, VOICE]] = True
    return pitch, onset


def roll_array(piece: Piece, steps: int = 4) -> NDArray[np.bool_]:
    """Whether each MIDI pitch sounds (frames, 128), whoever plays it."""
    piece = piece.at(steps)
    roll = np.zeros((_frames(piece), 128), bool)
    note, frame = _cells(piece.notes)
    roll[frame, piece.notes[note, PITCH].clip(0, 127)] = True
    return roll


def chords(frames: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """Rows (chords, voices or pitches) of each frame that differs from the one before, and where they begin (chords,).

    A silence of all voices is a chord too: what stands around it does not follow each other.
    """
    new = np.ones(len(frames), bool)
    new[1:] = (frames[1:] != frames[:-1]).any(1)
    return frames[new], np.flatnonzero(new)


def _frames(piece: Piece) -> int:
    return max(piece.length, int(piece.notes[:, :2].sum(1).max(initial=0)))


def _cells(notes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every frame that every note sounds in: number of the note (cells,) and frame (cells,), note by note."""
    duration = notes[:, DURATION].astype(np.int64)
    note = np.repeat(np.arange(len(notes)), duration)
    within = np.arange(len(note)) - np.repeat(np.cumsum(duration) - duration, duration)
    return note, notes[note, ONSET] + within
