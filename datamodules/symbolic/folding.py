"""Music as a view can hold it: notes moved into its range, chords thinned to their highest note, short rests closed."""

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.piece import DURATION, ONSET, PITCH, VOICE, Piece
from datamodules.symbolic.views.view import OutOfReach, View

MOST_BEYOND = 1 / 3
"""Share of the notes that may be beyond."""
OCTAVE, MIDI_HIGHEST = 12, 127


def beyond_least(view: View, piece: Piece) -> int:
    """Of the transpositions into the view's key the one that leaves the fewest notes out of its range, the smallest of equals.

    Raises OutOfReach where even that leaves more than MOST_BEYOND of them.
    """
    low, high = _bounds(view, piece)
    pitches, shifts = piece.notes[:, PITCH], view.shifts(piece)
    counts = np.array([((pitches + shift < low) | (pitches + shift > high)).sum() for shift in shifts])
    if counts.min() > MOST_BEYOND * len(pitches):
        raise OutOfReach(
            f"{counts.min()} of its {len(pitches)} notes, {pitches.min()} to {pitches.max()}, lie beyond what the model knows in "
            "any transposition"
        )
    return int(shifts[np.lexsort((np.abs(shifts), counts))[0]])


def folds(view: View, piece: Piece) -> NDArray[np.int32]:
    """Semitones (n,) in octaves that bring each note into the view's range; 0 of those within."""
    low, high = _bounds(view, piece)
    pitches = piece.notes[:, PITCH]
    up = OCTAVE * -(-np.maximum(low - pitches, 0) // OCTAVE)
    return (up - OCTAVE * -(-np.maximum(pitches + up - high, 0) // OCTAVE)).astype(np.int32)


def folded(piece: Piece, by: NDArray[np.int32]) -> Piece:
    """A piece with each note moved by so many semitones (n,)."""
    notes = piece.notes.copy()
    notes[:, PITCH] += by
    return piece.with_notes(notes)


def skyline(piece: Piece) -> Piece:
    """A piece with the highest note alone of each voice at a time: a lower one that sounds beside it ends or falls away."""
    kept = []
    for voice in range(piece.voices):
        notes = piece.voice(voice)
        notes = notes[np.lexsort((-notes[:, PITCH], notes[:, ONSET]))]
        notes = notes[np.diff(notes[:, ONSET], prepend=-1) > 0]
        above: list[NDArray[np.int32]] = []
        for note in notes:
            if above and above[-1][ONSET] + above[-1][DURATION] > note[ONSET]:
                if above[-1][PITCH] > note[PITCH]:
                    continue
                above[-1][DURATION] = note[ONSET] - above[-1][ONSET]
            above.append(note.copy())
        kept += above
    return piece.with_notes(np.array(kept, np.int32).reshape(-1, 5))


def closed(piece: Piece) -> Piece:
    """A piece whose melody, voice 0, has no rest shorter than a beat: the note before it is held until the next one."""
    melody, others = piece.voice(0).copy(), piece.notes[piece.notes[:, VOICE] > 0]
    onsets = melody[:, ONSET]
    following = np.append(onsets, piece.length)[np.searchsorted(onsets, onsets, "right")]
    gap = following - onsets - melody[:, DURATION]
    melody[:, DURATION] += np.where((gap > 0) & (gap < beat(piece)), gap, 0)
    return piece.with_notes(np.concatenate([melody, others]))


def beat(piece: Piece) -> int:
    """Ticks of a beat of the first metre: three of its notes in compound time."""
    compound = piece.beats > 3 and piece.beats % 3 == 0 and piece.beat_type >= 8
    return max(1, 4 * piece.ticks * (3 if compound else 1) // piece.beat_type)


def audible(piece: Piece) -> Piece:
    """A piece without pitches that MIDI has no number for: those are moved by octaves."""
    notes = piece.notes.copy()
    pitches = notes[:, PITCH]
    pitches += OCTAVE * -(-np.maximum(-pitches, 0) // OCTAVE)
    pitches -= OCTAVE * -(-np.maximum(pitches - MIDI_HIGHEST, 0) // OCTAVE)
    return piece.with_notes(notes)


def _bounds(view: View, piece: Piece) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest pitch (n,) that the view has for each note."""
    bounds = np.array([view.bounds(voice) for voice in range(max(piece.voices, 1))])
    return bounds[piece.notes[:, VOICE], 0], bounds[piece.notes[:, VOICE], 1]
