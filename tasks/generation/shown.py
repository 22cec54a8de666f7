"""What a system is shown of a user's music where it does not hold all of it, and the user's own notes in its answer."""

import numpy as np

from datamodules.symbolic.folding import audible, beyond_least, folded, folds, skyline
from datamodules.symbolic.merging import merged
from datamodules.symbolic.piece import VOICE, Piece
from datamodules.symbolic.views.view import OutOfReach, Polyphonic, Use, View


def shown(view: View, template: Piece, given: Piece, use: Use) -> tuple[Piece, int, list[str]]:
    """The template as the view holds it, the semitones that it was moved by, and what the user must know of that.

    Few notes beyond the range are moved by octaves, and of a voice with chords the highest note is seen. Raises Unfit where
    that is not enough.
    """
    melody = 0 if use == "harmonise" else None
    try:
        shift = view.shift_for(given, melody)
    except OutOfReach:
        shift = beyond_least(view, given)
    said = [f"written {shift:+d} semitones away, where the system knows its way, and put back"] if shift else []
    if beyond := int((folds(view, given.transposed(shift)) != 0).sum()):
        said.append(f"{beyond} of {len(given.notes)} given notes are beyond the system: it saw them octaves nearer; they stay")
    moved = template.transposed(shift)
    moved = folded(moved, folds(view, moved))
    try:
        view.encode(moved)
    except Polyphonic:
        moved = skyline(moved)
        said.append("where a voice sounds several notes at once, the system saw the highest; all stay")
    return moved, shift, said


def answered(template: Piece, seen: Piece, written: Piece, use: Use, span: tuple[int, int] | None) -> Piece:
    """What was written around what was given, which stands as in `template`; `seen` and `written` in the template's key."""
    written = audible(written)
    if use != "harmonise":
        return merged(template, written, use, span)
    made = merged(seen, written, use, span)
    melody = template.at(made.ticks).voice(0)
    return made.with_notes(np.concatenate([melody, made.notes[made.notes[:, VOICE] > 0]]))
