"""Lead sheet of Eck and Schmidhuber (2002): chords and melody <-> bits."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.grid import bar_lines, cells_of, frames_of, kept_frames, length_of, nearest, on_ticks, spread
from datamodules.generation.harmony import MINOR, chord_classes, chord_of, chords_of_bars
from datamodules.generation.piece import PITCH, VOICE, Piece
from datamodules.generation.views.view import Encoded, UnfitPiece, Use, View
from datamodules.generation.views.voice_grid import SILENT, notes_of, voice_cells

CHORD, MELODY = 12, 13
"""Bits of a chord's pitch classes, and of a melody of an octave with both its ends."""
CHORD_LOW = 48
"""Lowest pitch of decoded chords: the C below middle C."""


class ChordMelody(View):
    """Frames (frames, 12 + 13) of zeros and ones: pitch classes of the chord, then the pitch of the melody, which is voice 0.

    The chord is taken from the symbols, or without symbols from the other voices. The melody is folded into an octave.
    Not represented: octaves, repeated notes (they merge), rests between chords, velocities, and times finer than the grid.

    Args:
        steps: frames of a quarter note; the paper has 2
        melody: add melody bits, as in the paper's second experiment
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
        """Frame specification; the first 12 columns are the chord's."""
        columns = CHORD + MELODY * self.melody
        return {"kind": "binary", "sizes": (2,) * columns, "bar": 4 * self.steps, "low": CHORD_LOW}

    def encode(self, piece: Piece) -> Encoded:
        """Encode a piece. Raises UnfitPiece if the melody sounds two notes at once."""
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
        """Melody bit of each pitch: semitones above `fold` modulo 12; octaves above `fold` get the last bit."""
        above = pitches - self.fold
        return np.where((above >= MELODY - 1) & (above % 12 == 0), MELODY - 1, above % 12)

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Decode the melody (highest bit) as voice 0, the chord as voice 1, and as symbols if the template has any."""
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
        """The chord's bits are free if the template has neither symbols nor other voices."""
        whole = not self.melody or template.voices > 1 or len(template.chords)
        return fixed if whole else fixed & (np.arange(fixed.shape[1]) >= CHORD)


def _symbols(chords: NDArray, step: int) -> NDArray[np.int32]:
    """Chord symbols (n, 3) at the changes of pitch classes (frames, 12)."""
    changed = np.diff(chords, axis=0, prepend=False).any(1) & chords.any(1)
    results = [(frame * step, *chord_of(chords[frame])) for frame in np.flatnonzero(changed)]
    return np.array(results, np.int32).reshape(-1, 3)


PITCHES = 128


class BarImage(View):
    """Bars as binary images (bars, steps of a bar x 128) of the melody, voice 0 (MidiNet, Yang et al. 2017).

    The melody has no rests: a note lasts until the next, the first one from the beginning, which fills up a pickup's bar too.
    Conditions are the bar's chord: root, one-hot of 12, and 1 for minor. Not represented: rests, repeated notes (they merge),
    other voices, velocities, and times finer than the grid.

    Args:
        steps: of a quarter note; the paper has 4
    """

    name = "bar_image"
    uses = frozenset({"free", "continue", "inpaint"})
    low, high = 0, PITCHES - 1
    voices = 1

    def __init__(self, steps: int = 4) -> None:
        if steps < 1:
            raise ValueError(f"steps must be positive: {steps}")
        self.steps = steps

    @property
    def bar(self) -> int:
        """Steps of a bar."""
        return 4 * self.steps

    def form(self) -> dict[str, Any]:
        """Frame specification: one frame per 4/4 bar, one plane per step."""
        return {"kind": "binary", "sizes": (2,) * (self.bar * PITCHES), "conditions": 13, "bar": 1, "planes": self.bar, "low": 0}

    def _front(self, piece: Piece) -> int:
        """Steps that fill up the pickup's bar."""
        return self.bar - int(nearest(piece.pickup, piece, self.steps)) if piece.pickup else 0

    def encode(self, piece: Piece) -> Encoded:
        """Encode a melody. Raises UnfitPiece for bars other than 4/4, a longer pickup, or two notes at once in the melody."""
        if (piece.metres[:, 1] != piece.metres[:, 2]).any() or piece.pickup > piece.bar:
            raise UnfitPiece("it has bars that are not of four quarters")
        pitches = voice_cells(replace(piece, notes=piece.voice(0)), 1, self.steps)[0][:, 0]
        bars = len(bar_lines(piece))
        line = np.full(bars * self.bar, SILENT)
        front = self._front(piece)
        line[front : front + len(pitches)] = pitches[: len(line) - front]
        sounding = np.flatnonzero(line != SILENT)
        frames = np.zeros((len(line), PITCHES), np.float32)
        if len(sounding):
            last = np.maximum(np.searchsorted(sounding, np.arange(len(line)), "right") - 1, 0)
            frames[np.arange(len(line)), line[sounding[last]]] = 1
        chords = chords_of_bars(piece)
        known = np.concatenate([np.eye(12)[chords[:, 0]], chords[:, 1:] == MINOR], 1).astype(np.float32)
        return Encoded(frames.reshape(bars, -1), known)

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Decode the highest pitch of each step."""
        template = on_ticks(template, self.steps)
        steps = np.asarray(frames).reshape(-1, PITCHES) > 0.5
        pitches = np.where(steps.any(1), PITCHES - 1 - np.argmax(steps[:, ::-1], 1), SILENT)[self._front(template) :, None]
        step = template.ticks // self.steps
        length = template.length if len(frames) == len(bar_lines(template)) else len(pitches) * step
        return template.with_notes(notes_of(pitches, np.zeros(pitches.shape, bool), step, length), length=length)

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Whole bars that end before a span or begin after it."""
        begins = bar_lines(template)
        ends = np.append(begins[1:], template.length)
        kept = np.zeros(len(begins), bool)
        if use == "inpaint" and span is None:
            raise ValueError("inpaint needs a span")
        if use in ("continue", "inpaint"):
            begin, end = span or (template.length, template.length)
            kept = (ends <= begin) | ((begins >= end) & (use == "inpaint"))
        return np.repeat(kept[:, None], self.bar * PITCHES, 1)
