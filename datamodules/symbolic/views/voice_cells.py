"""Voices that sound one pitch at a time, on the grid: what voice grids and serial tokens are made of."""

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.grid import VELOCITY_WRITTEN, cells_of, frames_of, spread
from datamodules.symbolic.piece import DURATION, ONSET, PITCH, VOICE, Piece, in_order
from datamodules.symbolic.views.view import Polyphonic, Unfit
from datamodules.symbolic.voices import SLACK, monophonic

LEGATO = 1
"""Frames that notes of a voice that is no single line may last into the next one; they are cut there."""
SILENT = -1
"""In place of a pitch: the voice rests."""


def voice_cells(piece: Piece, voices: int, steps: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pitch (frames, voices) that each voice sounds, SILENT where none, and whether it is struck there.

    A note that lasts into the next one of its line ends there. Where two notes of a voice meet in a frame, because the grid is
    coarser than they are, the later one stands in it. Raises Unfit where there are more voices, or one sounds two notes at once.
    """
    if piece.voices > voices:
        raise Unfit(f"it has {piece.voices} voices, the model {voices}")
    pitches = np.full((frames_of(piece, steps), voices), SILENT, np.int64)
    struck = np.zeros(pitches.shape, bool)
    starts, stops = cells_of(piece.notes, piece, steps)
    for number in range(voices):
        mine = np.flatnonzero(piece.notes[:, VOICE] == number)
        if not len(mine):
            continue
        notes, begin, end = piece.notes[mine], starts[mine], stops[mine]
        overlap = notes[1:, ONSET] < notes[:-1, ONSET] + notes[:-1, DURATION]
        apart = (begin[1:] > begin[:-1]) & (end[:-1] - begin[1:] <= LEGATO)
        beside = (overlap & ~apart & (notes[1:, PITCH] != notes[:-1, PITCH])).any()
        if beside and not monophonic(notes, piece.ticks // SLACK):
            raise Polyphonic(f"its voice {number + 1} sounds two notes at once, which a piano roll alone holds")
        end[:-1] = np.minimum(end[:-1], begin[1:])
        event, frame = spread(begin, end)
        pitches[frame, number] = notes[event, PITCH]
        struck[begin, number] = True
    return pitches, struck


def merged_notes(piece: Piece, steps: int) -> int:
    """Notes that begin in a frame in which a later one of their voice begins."""
    starts, _ = cells_of(piece.notes, piece, steps)
    return len(starts) - len(np.unique(np.stack([starts, piece.notes[:, VOICE]]), axis=1).T)


def notes_of(pitches: NDArray, struck: NDArray, step: int, length: int) -> NDArray[np.int32]:
    """Notes (n, 5) of what `voice_cells` gives: one begins where struck, or where the pitch changes."""
    silence = np.full((1, pitches.shape[1]), SILENT)
    changes = np.diff(pitches, axis=0, prepend=silence) != 0
    begins = (pitches != SILENT) & (struck | changes)
    edges = begins | changes
    notes = []
    for voice in range(pitches.shape[1]):
        starts = np.flatnonzero(begins[:, voice])
        ends = np.append(np.flatnonzero(edges[:, voice]), len(pitches))
        stops = ends[np.searchsorted(ends, starts, "right")]
        onsets = starts * step
        lasts = np.minimum(stops * step, length) - onsets
        columns = (onsets, lasts, pitches[starts, voice], np.full(len(starts), VELOCITY_WRITTEN), np.full(len(starts), voice))
        notes.append(np.stack(columns, 1)[lasts > 0])
    return in_order(np.concatenate(notes)) if notes else np.zeros((0, 5), np.int32)
