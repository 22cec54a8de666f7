"""Adaptation of pieces to a view (range, monophony, short rests), and the join of generated and original notes."""

from dataclasses import replace
from math import lcm

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.piece import DURATION, ONSET, PITCH, VELOCITY, VOICE, Piece, in_order
from datamodules.generation.reading.notation import MOST_TICKS
from datamodules.generation.views.view import OutOfReach, Use, View

MOST_BEYOND = 1 / 3
"""Largest share of the notes that may lie out of range."""
OCTAVE, MIDI_HIGHEST = 12, 127


def beyond_least(view: View, piece: Piece) -> int:
    """Transposition (semitones) into the view's key with the fewest notes out of range, the smallest of ties.

    Raises OutOfReach if more than MOST_BEYOND of the notes stay out of range.
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
    """Octave shifts (n,) in semitones that bring each note into the view's range; 0 for notes within it."""
    low, high = _bounds(view, piece)
    pitches = piece.notes[:, PITCH]
    up = OCTAVE * -(-np.maximum(low - pitches, 0) // OCTAVE)
    return (up - OCTAVE * -(-np.maximum(pitches + up - high, 0) // OCTAVE)).astype(np.int32)


def folded(piece: Piece, by: NDArray[np.int32]) -> Piece:
    """Piece with each note transposed by its own number of semitones (n,)."""
    notes = piece.notes.copy()
    notes[:, PITCH] += by
    return piece.with_notes(notes)


def skyline(piece: Piece) -> Piece:
    """Piece reduced to the highest sounding note of each voice; lower simultaneous notes are cut or dropped."""
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
    """Piece whose melody (voice 0) has its rests shorter than a beat closed by lengthening the note before."""
    melody, others = piece.voice(0).copy(), piece.notes[piece.notes[:, VOICE] > 0]
    onsets = melody[:, ONSET]
    following = np.append(onsets, piece.length)[np.searchsorted(onsets, onsets, "right")]
    gap = following - onsets - melody[:, DURATION]
    melody[:, DURATION] += np.where((gap > 0) & (gap < beat(piece)), gap, 0)
    return piece.with_notes(np.concatenate([melody, others]))


def beat(piece: Piece) -> int:
    """Ticks of a beat of the first metre; three note values in compound time."""
    compound = piece.beats > 3 and piece.beats % 3 == 0 and piece.beat_type >= 8
    return max(1, 4 * piece.ticks * (3 if compound else 1) // piece.beat_type)


def audible(piece: Piece) -> Piece:
    """Piece with pitches outside 0 to 127 moved by octaves into that range."""
    notes = piece.notes.copy()
    pitches = notes[:, PITCH]
    pitches += OCTAVE * -(-np.maximum(-pitches, 0) // OCTAVE)
    pitches -= OCTAVE * -(-np.maximum(pitches - MIDI_HIGHEST, 0) // OCTAVE)
    return piece.with_notes(notes)


def _bounds(view: View, piece: Piece) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest pitch (n,) of the view for each note."""
    bounds = np.array([view.bounds(voice) for voice in range(max(piece.voices, 1))])
    return bounds[piece.notes[:, VOICE], 0], bounds[piece.notes[:, VOICE], 1]


def merged(template: Piece, written: Piece, use: Use, span: tuple[int, int] | None = None) -> Piece:
    """Join the notes of `template` that a use fixes with the notes of `written` in the free region.

    continue: written from tick span[0] on; inpaint: between span[0] and span[1]; harmonise: beside voice 0; else all is written.
    A note of the template that lasts into the region is cut at its edge, or extended to the end of the written note that
    continues it; a note that lasts beyond the region stays. Written notes get the median velocity of the template. Ticks,
    metres and length are the template's; its ticks are multiplied if the grid needs a finer resolution that MIDI can hold.
    """
    ticks = lcm(template.ticks, written.ticks)
    ticks = template.ticks if ticks > MOST_TICKS else ticks
    if span is not None:
        span = (span[0] * ticks // template.ticks, span[1] * ticks // template.ticks)
    template, written = template.at(ticks), written.at(ticks)
    if use == "harmonise":
        kept = template.voice(0)
        return replace(template, notes=_together(kept, _accompaniment(kept, written.notes, ticks // 2)))
    if use not in ("continue", "inpaint"):
        return written
    if span is None:
        return template
    begin, end = span[0], template.length if use == "continue" else span[1]
    return replace(
        template,
        notes=_together(*_around(template.notes, written.notes, begin, end)),
        drums=_swapped(template.drums, written.drums, begin, end),
        chords=_chords(template.chords, written.chords, begin, end),
    )


def _together(kept: NDArray, new: NDArray) -> NDArray[np.int32]:
    if len(kept):
        new[:, VELOCITY] = int(np.median(kept[:, VELOCITY]))
    return in_order(np.concatenate([kept, new]))


def _accompaniment(melody: NDArray, notes: NDArray, slack: int) -> NDArray[np.int32]:
    """Written notes without the melody; other notes of voice 0 move to voice 1. slack: rounding of the grid in ticks."""
    is_melody = np.zeros(len(notes), bool)
    ends = notes[:, ONSET] + notes[:, DURATION]
    for onset, lasts, pitch, _, _ in melody:
        beside = (notes[:, ONSET] < onset + lasts + slack) & (ends > onset - slack)
        is_melody |= (notes[:, VOICE] == 0) & (notes[:, PITCH] == pitch) & beside
    new = notes[~is_melody].copy()
    new[:, VOICE] = np.maximum(new[:, VOICE], 1)
    return new


def _around(original: NDArray, notes: NDArray, begin: int, end: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Join original notes outside [begin, end) with generated notes inside, splitting notes at the boundaries."""
    kept = original[(original[:, ONSET] < begin) | (original[:, ONSET] >= end)].copy()
    until = _ends(kept)
    over = notes[(notes[:, ONSET] < begin) & (_ends(notes) > begin)]  # each continues an original note, or is struck at the edge
    for index in np.flatnonzero((kept[:, ONSET] < begin) & (until > begin)):
        holds = over[:, PITCH] == kept[index, PITCH]
        reach = int(_ends(over[holds]).max(initial=begin))
        kept[index, DURATION] = (reach if reach < end else max(end, until[index])) - kept[index, ONSET]
        over = over[~holds]
    over = over.copy()
    over[:, DURATION], over[:, ONSET] = _ends(over) - begin, begin
    new = np.concatenate([over, notes[(notes[:, ONSET] >= begin) & (notes[:, ONSET] < end)]])
    tails = original[(original[:, ONSET] < end) & (_ends(original) > end)]
    whole = kept[(kept[:, ONSET] < end) & (_ends(kept) > end)]
    tails = tails[~np.isin(tails[:, PITCH] * 2**16 + tails[:, VOICE], whole[:, PITCH] * 2**16 + whole[:, VOICE])]
    return np.concatenate([kept, _tied(new, tails, end)]), new


def _tied(new: NDArray, tails: NDArray, end: int) -> NDArray[np.int32]:
    """Cut written notes at `end`, except those that continue as an original tail; return the other tails."""
    stops = np.minimum(_ends(new), end)
    free = _ends(new) > end
    left = np.ones(len(tails), bool)
    # A roll knows the tail by its pitch; on a grid of voices another pitch may be held instead.
    for columns in ([PITCH, VOICE], [PITCH], [VOICE]):
        for index in np.flatnonzero(left):
            fits = np.flatnonzero(free & (new[:, columns] == tails[index, columns]).all(1))
            if len(fits):
                stops[fits[0]] = min(_ends(new)[fits[0]], _ends(tails)[index])
                free[fits[0]] = left[index] = False
    new[:, DURATION] = stops - new[:, ONSET]
    alone = tails[left].copy()
    alone[:, DURATION], alone[:, ONSET] = _ends(alone) - end, end
    return alone


def _ends(notes: NDArray) -> NDArray[np.int32]:
    return notes[:, ONSET] + notes[:, DURATION]


def _swapped(original: NDArray, written: NDArray, begin: int, end: int) -> NDArray[np.int32]:
    """Events (n, 3 or 4) of `original` outside [begin, end) and of `written` inside."""
    inside = (written[:, ONSET] >= begin) & (written[:, ONSET] < end)
    events = np.concatenate([original[(original[:, ONSET] < begin) | (original[:, ONSET] >= end)], written[inside]])
    return events[np.lexsort((events[:, 2], events[:, ONSET]))]


def _chords(original: NDArray, written: NDArray, begin: int, end: int) -> NDArray[np.int32]:
    """Chords of both; the original chord in force at the end of the region is repeated there."""
    if np.array_equal(original, written):
        return original
    chords = _swapped(original, written, begin, end)
    before = original[original[:, ONSET] <= end][-1:].copy()
    if len(before) and before[0, ONSET] < end:
        before[:, ONSET] = end
        chords = np.concatenate([chords, before])
    return chords[np.argsort(chords[:, ONSET], kind="stable")]
