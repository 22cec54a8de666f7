"""Chords and a melody as bits, as Eck and Schmidhuber (2002) read the blues."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.grid import cells_of, frames_of, kept_frames, length_of, on_ticks, spread
from datamodules.symbolic.harmony import chord_classes, chord_of
from datamodules.symbolic.piece import PITCH, VOICE, Piece
from datamodules.symbolic.views.view import Encoded, Use, View
from datamodules.symbolic.views.voice_cells import SILENT, notes_of, voice_cells

CHORD, MELODY = 12, 13
"""Bits of a chord's pitch classes, and of a melody of an octave with both its ends."""
CHORD_LOW = 48
"""Where a decoded chord is written: the C below middle C and the pitches above it."""


class ChordMelody(View):
    """Frames (frames, 12 + 13) of zeros and ones: pitch classes of the chord, then the pitch of the melody, which is voice 0.

    The chord is that of the symbols, or where a piece has none, what its other voices sound. The melody is folded into an octave.
    Lost are octaves, repeated notes (they merge), rests between chords, velocities, and what is finer than the grid.

    Args:
        steps: frames of a quarter note; the paper has 2
        melody: whether there are melody bits, as in the paper's second experiment
        lowest: lowest pitch of the melody bits; null: learned, so that the fewest notes of the training pieces are folded
        key: see `View`
    """

    name = "chord_melody"
    learns = ("centre", "fold")
    low, high = 0, 127  # any pitch can be folded

    def __init__(self, steps: int = 2, melody: bool = True, lowest: int | None = None, key: Literal["any", "c"] = "any") -> None:
        if steps < 1:
            raise ValueError(f"steps must be positive: {steps}")
        self.steps, self.melody, self.lowest, self.key = steps, melody, lowest, key
        self.fold = 60 if lowest is None else lowest
        if not melody:
            self.uses = View.uses - {"harmonise"}

    def fit(self, pieces: list[Piece]) -> None:
        """Learn the octave of the melody."""
        super().fit(pieces)
        pitches = np.concatenate([np.zeros(0, np.int32), *(piece.voice(0)[:, PITCH] for piece in pieces)])
        if self.lowest is None and len(pitches):
            counts = np.bincount(pitches, minlength=128)
            self.fold = int(np.argmax([counts[low : low + MELODY].sum() for low in range(128 - MELODY)]))

    def form(self) -> dict[str, Any]:
        """The first 12 columns are the chord's."""
        columns = CHORD + MELODY * self.melody
        return {"kind": "binary", "sizes": (2,) * columns, "bar": 4 * self.steps, "low": CHORD_LOW}

    def encode(self, piece: Piece) -> Encoded:
        """Raises Unfit where the melody sounds two notes at once."""
        count = frames_of(piece, self.steps)
        if len(piece.chords):
            frames = chord_classes(piece, np.arange(count) * piece.ticks // self.steps)
        else:
            frames = np.zeros((count, CHORD), np.float32)
            below = piece.notes[piece.notes[:, VOICE] > 0]
            event, frame = spread(*cells_of(below, piece, self.steps))
            frames[frame, below[event, PITCH] % 12] = 1
        if self.melody:
            pitches = voice_cells(replace(piece, notes=piece.voice(0)), 1, self.steps)[0][:, 0]
            frames = np.concatenate([frames, np.eye(MELODY, dtype=np.float32)[self._folded(pitches)]], 1)
            frames[pitches == SILENT, CHORD:] = 0
        return Encoded(frames, np.zeros((count, 0), np.float32))

    def _folded(self, pitches: NDArray) -> NDArray:
        """Melody bit of each pitch: by octaves into the range, of whose ends the nearer stays."""
        above = pitches - self.fold
        return np.where((above >= MELODY - 1) & (above % 12 == 0), MELODY - 1, above % 12)

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """The melody as voice 0, of several bits the highest; the chord as voice 1, and as symbols where the template has any."""
        template = on_ticks(template, self.steps)
        bits = np.asarray(frames) > 0.5
        step, length = template.ticks // self.steps, length_of(template, len(bits), self.steps)
        pitches = np.full((len(bits), 1 + CHORD), SILENT)
        pitches[:, 1:] = np.where(bits[:, :CHORD], CHORD_LOW + np.arange(CHORD), SILENT)
        if self.melody:
            melody = bits[:, CHORD:]
            highest = MELODY - 1 - np.argmax(melody[:, ::-1], 1)
            pitches[:, 0] = np.where(melody.any(1), self.fold + highest, SILENT)
        notes = notes_of(pitches, np.zeros(pitches.shape, bool), step, length)
        notes[:, VOICE] = np.minimum(notes[:, VOICE], 1)
        chords = _symbols(bits[:, :CHORD], step) if len(template.chords) else template.chords
        return template.with_notes(notes, length=length, chords=chords)

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Whole frames outside a span; the melody's bits to harmonise, its rests too."""
        columns = np.arange(CHORD + MELODY * self.melody)
        fixed = np.repeat(kept_frames(template, self.steps, use, span)[:, None], len(columns), 1)
        return fixed | ((columns >= CHORD) & (use == "harmonise"))

    def freed(self, fixed: NDArray[np.bool_], template: Piece) -> NDArray[np.bool_]:
        """The chord's bits are free where neither symbols nor other voices say it."""
        said = not self.melody or template.voices > 1 or len(template.chords)
        return fixed if said else fixed & (np.arange(fixed.shape[1]) >= CHORD)


def _symbols(chords: NDArray, step: int) -> NDArray[np.int32]:
    """Chord symbols (n, 3) of pitch classes (frames, 12), one wherever they change to any."""
    changed = np.diff(chords, axis=0, prepend=False).any(1) & chords.any(1)
    found = [(frame * step, *chord_of(chords[frame])) for frame in np.flatnonzero(changed)]
    return np.array(found, np.int32).reshape(-1, 3)
