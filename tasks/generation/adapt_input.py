"""Adapt a user's music to a view's pitch range, voices and legato lines, and restore the given notes in the answer."""

import numpy as np

from datamodules.generation.adapting import audible, beyond_least, closed, folded, folds, merged, skyline
from datamodules.generation.grid import cells_of, frames_of
from datamodules.generation.piece import PITCH, VOICE, Piece
from datamodules.generation.views.view import OutOfReach, Polyphonic, Use, View
from datamodules.generation.voices import SLACK, monophonic

FINE = 12  # frames of a quarter note in which it is measured what sounds
SPARSE = 0.5
"""Share of a melody under which written voices should sound."""


def shown(view: View, template: Piece, given: Piece, use: Use) -> tuple[Piece, int, list[str]]:
    """The template as the view holds it, the semitones that it was moved by, and what the user must know of that.

    Few notes beyond the range are moved by octaves, of a voice with chords the highest note is seen, and gaps below a beat in a
    melody to harmonise are closed: most music to learn from has none. Raises Unfit where that is not enough.
    """
    melody = 0 if use == "harmonise" else None
    try:
        shift = view.shift_for(given, melody)
    except OutOfReach:
        shift = beyond_least(view, given)
    where = f"{abs(shift)} semitone{'s' * (abs(shift) > 1)} {'higher' if shift > 0 else 'lower'}"
    said = [f"written {where}, in the range of the system, and transposed back"] if shift else []
    if beyond := int((folds(view, given.transposed(shift)) != 0).sum()):
        said.append(f"{beyond} of {len(given.notes)} given notes are beyond the system: it saw them octaves nearer; they stay")
    moved = template.transposed(shift)
    moved = folded(moved, folds(view, moved))
    if use == "harmonise":
        moved = closed(moved)
    try:
        view.encode(moved)
    except Polyphonic:
        moved = skyline(moved)
        said.append("where a voice sounds several notes at once, the system saw the highest; all stay")
    if finer := view.merged_notes(moved.with_notes(moved.notes[moved.notes[:, VOICE] == 0]) if use == "harmonise" else moved):
        said.append(f"{finer} of {len(given.notes)} given notes are finer than the system's grid: it saw the others; all stay")
    return moved, shift, said


def answered(view: View, template: Piece, seen: Piece, written: Piece, use: Use, span: tuple[int, int] | None) -> Piece:
    """What was written around what was given, which stands as in `template`; `seen` and `written` in the template's key.

    Voices that the view does not write stay as they are, and of what it writes the voices that the template lacks are left out.
    """
    written = audible(written)
    if use == "harmonise":
        made = merged(seen, written, use, span)
        melody = template.at(made.ticks).voice(0)
        return made.with_notes(np.concatenate([melody, made.notes[made.notes[:, VOICE] > 0]]))
    if use not in ("continue", "inpaint"):
        return merged(template, written, use, span)
    limit = template.voices if view.voices is None else view.voices
    own = template.with_notes(template.notes[template.notes[:, VOICE] < limit])
    written = written if view.ranked else _in_own_octaves(template, seen, written)
    made = merged(own, _in_voices_of(template, written, view.ranked), use, span)
    notes = template.at(made.ticks).notes
    return made.with_notes(np.concatenate([made.notes, notes[notes[:, VOICE] >= limit]]))


def _in_own_octaves(template: Piece, seen: Piece, written: Piece) -> Piece:
    """Written notes in the octaves of their voices: where the system saw most of a voice octaves away, they are moved back."""
    notes = written.notes.copy()
    for voice in range(template.voices):
        given = {onset: pitch for onset, _, pitch, *_ in template.voice(voice).tolist()}  # of a chord the highest
        moved = [pitch - given[onset] for onset, _, pitch, *_ in seen.voice(voice).tolist() if onset in given]
        notes[notes[:, VOICE] == voice, PITCH] -= int(np.median(moved)) // 12 * 12 if moved else 0
    return audible(written.with_notes(notes))


def _in_voices_of(template: Piece, written: Piece, ranked: bool) -> Piece:
    """Written notes without voices that the template lacks.

    Ranked ones are of its last voice where a voice has chords; beside a lone melody the highest alone stays.
    """
    notes, voices = written.notes.copy(), template.voices
    lines = all(monophonic(template.voice(number), template.ticks // SLACK) for number in range(voices))
    if ranked and not lines:
        notes[:, VOICE] = np.minimum(notes[:, VOICE], voices - 1)
    written = written.with_notes(notes[notes[:, VOICE] < voices])
    return skyline(written) if ranked and lines and voices == 1 else written


def unwritten(view: View, piece: Piece, use: Use) -> list[str]:
    """What of a piece the system does not go on with, in sentences."""
    remarks = []
    if use in ("continue", "inpaint") and view.voices is not None and piece.voices > view.voices:
        others = piece.voices - view.voices
        voices = "the melody alone" if view.voices == 1 else f"{view.voices} voices"
        remarks.append(f"the system writes {voices}: the other {'voice stays' if others == 1 else f'{others} stay'} as given")
    if use in ("continue", "harmonise") and len(piece.drums) and view.name != "drums":
        remarks.append("the system writes no drums: the given ones stay as they are")
    return remarks


def sparse(piece: Piece) -> list[str]:
    """A sentence where the written voices of a harmonised melody sound under less than SPARSE of it."""
    share = accompanied(piece)
    if share >= SPARSE:
        return []
    return [f"the written voices sound under {100 * share:.0f} % of the melody alone: the system knows little music like it"]


def accompanied(piece: Piece) -> float:
    """Share of the time in which voice 0 sounds that any other voice sounds too; 1 where it never sounds."""
    sounding = np.zeros((2, frames_of(piece, FINE)), bool)
    starts, stops = cells_of(piece.notes, piece, FINE)
    for voice, start, stop in zip(piece.notes[:, VOICE], starts, stops, strict=True):
        sounding[min(voice, 1), start:stop] = True
    melody, others = sounding
    return float((melody & others).sum() / melody.sum()) if melody.any() else 1.0
