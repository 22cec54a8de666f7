"""Adapt user input to a view's pitch range and voices, and restore the original notes in the output."""

import numpy as np

from datamodules.generation.adapting import audible, beyond_least, closed, folded, folds, merged, skyline
from datamodules.generation.grid import cells_of, frames_of
from datamodules.generation.piece import PITCH, VOICE, Piece
from datamodules.generation.views.view import OutOfReach, Polyphonic, Use, View
from datamodules.generation.voices import SLACK, monophonic

FINE = 12  # frames per quarter note of `accompanied`
SPARSE = 0.5
"""Share of a melody below which the generated voices count as sparse."""


def adapted(view: View, template: Piece, fixed: Piece, use: Use) -> tuple[Piece, int, list[str]]:
    """Transpose and simplify a template so that a view can encode it.

    A few notes outside the range move by octaves, only the highest note of chords within a voice is kept, and gaps shorter than
    a beat in a melody to harmonise are closed, because most training data has none.

    Returns:
        Adapted template, its transposition in semitones, and remarks for the user.

    Raises:
        UnfitPiece: the view cannot encode the template.
    """
    melody = 0 if use == "harmonise" else None
    try:
        shift = view.shift_for(fixed, melody)
    except OutOfReach:
        shift = beyond_least(view, fixed)
    interval = f"{abs(shift)} semitone{'s' * (abs(shift) > 1)} {'higher' if shift > 0 else 'lower'}"
    remarks = [f"generated {interval}, in the range of the system, and transposed back"] if shift else []
    count = len(fixed.notes)
    if beyond := int((folds(view, fixed.transposed(shift)) != 0).sum()):
        remarks.append(f"{beyond} of {count} input notes are out of range: the system read them in other octaves; all are kept")
    moved = template.transposed(shift)
    moved = folded(moved, folds(view, moved))
    if use == "harmonise":
        moved = closed(moved)
    try:
        view.encode(moved)
    except Polyphonic:
        moved = skyline(moved)
        remarks.append("of simultaneous notes of a voice the system read only the highest; all are kept")
    if finer := view.merged_notes(moved.with_notes(moved.notes[moved.notes[:, VOICE] == 0]) if use == "harmonise" else moved):
        remarks.append(f"{finer} of {count} input notes are finer than the system's grid: it did not read them; all are kept")
    return moved, shift, remarks


def restored(view: View, template: Piece, adapted: Piece, generated: Piece, use: Use, span: tuple[int, int] | None) -> Piece:
    """Join generated notes with the original notes of a template.

    Voices that the view does not generate are copied; generated voices that the template does not have are dropped.

    Args:
        view: view of the system
        template: original notes
        adapted: template as the system read it, in the template's key
        generated: output of the system, in the template's key
        use: "continue", "inpaint", "harmonise" or "free"
        span: ticks (begin, end) to generate
    """
    generated = audible(generated)
    if use == "harmonise":
        joined = merged(adapted, generated, use, span)
        melody = template.at(joined.ticks).voice(0)
        return joined.with_notes(np.concatenate([melody, joined.notes[joined.notes[:, VOICE] > 0]]))
    if use not in ("continue", "inpaint"):
        return merged(template, generated, use, span)
    limit = template.voices if view.voices is None else view.voices
    own = template.with_notes(template.notes[template.notes[:, VOICE] < limit])
    generated = generated if view.ranked else _in_own_octaves(template, adapted, generated)
    joined = merged(own, _in_voices_of(template, generated, view.ranked), use, span)
    notes = template.at(joined.ticks).notes
    return joined.with_notes(np.concatenate([joined.notes, notes[notes[:, VOICE] >= limit]]))


def _in_own_octaves(template: Piece, adapted: Piece, generated: Piece) -> Piece:
    """Move generated notes back to the octave of their voice if most of that voice was read in another octave."""
    notes = generated.notes.copy()
    for voice in range(template.voices):
        pitches = {onset: pitch for onset, _, pitch, *_ in template.voice(voice).tolist()}  # the highest of a chord
        moved = [pitch - pitches[onset] for onset, _, pitch, *_ in adapted.voice(voice).tolist() if onset in pitches]
        notes[notes[:, VOICE] == voice, PITCH] -= int(np.median(moved)) // 12 * 12 if moved else 0
    return audible(generated.with_notes(notes))


def _in_voices_of(template: Piece, written: Piece, ranked: bool) -> Piece:
    """Drop generated voices that the template does not have.

    Ranked voices join the template's last voice if a voice has chords; for a single melody only the highest notes are kept.
    """
    notes, voices = written.notes.copy(), template.voices
    lines = all(monophonic(template.voice(number), template.ticks // SLACK) for number in range(voices))
    if ranked and not lines:
        notes[:, VOICE] = np.minimum(notes[:, VOICE], voices - 1)
    written = written.with_notes(notes[notes[:, VOICE] < voices])
    return skyline(written) if ranked and lines and voices == 1 else written


def unwritten(view: View, piece: Piece, use: Use) -> list[str]:
    """Remarks on voices and drums of a piece that the system does not generate."""
    remarks = []
    if use in ("continue", "inpaint") and view.voices is not None and piece.voices > view.voices:
        others = piece.voices - view.voices
        voices = "only the melody" if view.voices == 1 else f"{view.voices} voices"
        rest = "voice is" if others == 1 else f"{others} are"
        remarks.append(f"the system generates {voices}: the other {rest} copied from the input")
    if use in ("continue", "harmonise") and len(piece.drums) and view.name != "drums":
        remarks.append("the system generates no drums: those of the input are copied")
    return remarks


def sparse(piece: Piece) -> list[str]:
    """Remark on a harmonised melody with generated voices in less than `SPARSE` of its duration."""
    share = accompanied(piece)
    if share >= SPARSE:
        return []
    return [f"the generated voices cover only {100 * share:.0f} % of the melody: it differs from the training data"]


def accompanied(piece: Piece) -> float:
    """Share of the duration of voice 0 in which another voice sounds; 1 if voice 0 is empty."""
    sounding = np.zeros((2, frames_of(piece, FINE)), bool)
    starts, stops = cells_of(piece.notes, piece, FINE)
    for voice, start, stop in zip(piece.notes[:, VOICE], starts, stops, strict=True):
        sounding[min(voice, 1), start:stop] = True
    melody, others = sounding
    return float((melody & others).sum() / melody.sum()) if melody.any() else 1.0
