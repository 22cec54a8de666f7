"""Note tuples of CONCERT (Mozer 1994): melody <-> one row a note."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.grid import VELOCITY_WRITTEN, cells_of, frames_of, nearest, on_ticks, whole_bars
from datamodules.generation.piece import ONSET, PITCH, QUALITIES, Piece
from datamodules.generation.views.view import Encoded, Polyphonic, UnfitPiece, Use, View

END, REST, PITCHED = range(3)
ROOM = 4
"""Rows of END a quarter note for silence of a bar or more at the end of a piece: room to write in."""


class NoteTuples(View):
    """Rows (notes + 1, 3) of categories: pitch (END, REST, or one of the range), duration, chord (0 for none); END comes last.

    Durations are those of the training pieces, in steps. The chord is root and quality of the symbol in force at the onset.
    Silence of a bar or more at the end is encoded as more ENDs. Not represented: that silence, chord changes during a note,
    other voices, velocities, and times finer than the grid.

    Args:
        steps: of a quarter note
        low, high: range
        key: see `View`
    """

    name = "note_tuples"
    uses = frozenset({"free", "continue"})
    learns = ("centre", "durations")
    voices = 1

    def __init__(self, steps: int = 12, low: int = 33, high: int = 96, key: Literal["any", "c"] = "any") -> None:
        if steps < 1 or low > high:
            raise ValueError(f"steps must be positive and low at most high: {steps, low, high}")
        self.steps, self.low, self.high, self.key = steps, low, high, key
        self.durations = [steps]

    def reach(self, piece: Piece, voice: int | None = None) -> tuple[int, int]:
        """Transpositions that keep the melody within range."""
        return super().reach(piece, 0) if len(piece.voice(0)) else (-127, 127)

    def fit(self, pieces: list[Piece]) -> None:
        """Learn the set of durations."""
        super().fit(pieces)
        results = [self._rows(piece)[1] for piece in pieces]
        self.durations = sorted({int(duration) for durations in results for duration in durations}) or [self.steps]

    def form(self) -> dict[str, Any]:
        """Frame specification without time grid (`bar` is 0); rest and end are categories of the first column."""
        return {
            "kind": "categories",
            "sizes": (PITCHED + self.high - self.low + 1, len(self.durations), 1 + 12 * len(QUALITIES)),
            "bar": 0,
            "low": self.low,
            "rest": REST,
            "end": END,
        }

    def _rows(self, piece: Piece) -> tuple[NDArray, NDArray, NDArray]:
        """Pitch (-1: rest), duration and onset (steps) of the melody's notes and rests; notes are cut at the next."""
        melody = piece.voice(0)
        starts, stops = cells_of(melody, piece, self.steps)
        stops[:-1] = np.minimum(stops[:-1], starts[1:])
        kept = stops > starts
        melody, starts, stops = melody[kept], starts[kept], stops[kept]
        before = np.concatenate([[0], stops[:-1]])[: len(starts)]
        # Every note with the rest before it; those that last nothing are taken out.
        pitches = np.stack([np.full(len(starts), -1), melody[:, PITCH]], 1).ravel()
        onsets = np.stack([before, starts], 1).ravel()
        lasts = np.stack([starts - before, stops - starts], 1).ravel()
        return pitches[lasts > 0], lasts[lasts > 0], onsets[lasts > 0]

    def encode(self, piece: Piece) -> Encoded:
        """Encode a melody. Raises UnfitPiece for two notes at once, a pitch out of range, or an unknown duration."""
        melody = piece.voice(0)
        if (melody[1:, ONSET] == melody[:-1, ONSET]).any():
            raise Polyphonic("its melody sounds two notes at once")
        pitches, lasts, onsets = self._rows(piece)
        if ((pitches >= 0) & ((pitches < self.low) | (pitches > self.high))).any():
            raise UnfitPiece(f"its melody reaches beyond the model's {self.low} to {self.high}")
        if unknown := sorted(set(lasts.tolist()) - set(self.durations)):
            raise UnfitPiece(f"a note or rest of {unknown[0]}/{self.steps} of a quarter is of no length that the model knows")
        silence = frames_of(piece, self.steps) - (int(onsets[-1] + lasts[-1]) if len(lasts) else 0)
        ends = -(-silence * ROOM // self.steps) if silence * piece.ticks >= piece.bar * self.steps else 0
        frames = np.zeros((len(pitches) + max(ends, 1), 3), np.int64)
        rows = frames[: len(pitches)]
        rows[:, 0] = np.where(pitches < 0, REST, PITCHED + pitches - self.low)
        rows[:, 1] = np.searchsorted(self.durations, lasts)
        index = np.searchsorted(piece.chords[:, 0], onsets * piece.ticks // self.steps, "right") - 1
        if len(piece.chords):
            named = 1 + piece.chords[index, 1] * len(QUALITIES) + piece.chords[index, 2]
            rows[:, 2] = np.where(index < 0, 0, named)
        return Encoded(frames, np.zeros((len(frames), 0), np.float32))

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Decode up to the first END and the template's length, in whole bars."""
        template = on_ticks(template, self.steps)
        rows = np.asarray(frames)
        rows = rows[: np.argmax(rows[:, 0] == END)] if (rows[:, 0] == END).any() else rows
        lasts = np.array(self.durations)[rows[:, 1]] * (template.ticks // self.steps)
        onsets = np.cumsum(lasts) - lasts
        rows, onsets = rows[onsets < template.length], onsets[onsets < template.length]
        lasts = np.minimum(lasts[: len(rows)], template.length - onsets)
        notes = np.zeros((len(rows), 5), np.int32)
        notes[:, 0], notes[:, 1], notes[:, PITCH], notes[:, 3] = onsets, lasts, rows[:, 0] - PITCHED + self.low, VELOCITY_WRITTEN
        named = rows[:, 2] > 0
        named &= np.diff(rows[:, 2], prepend=0) != 0
        root, quality = np.divmod(rows[named, 2] - 1, len(QUALITIES))
        return template.with_notes(
            notes[rows[:, 0] >= PITCHED],
            length=whole_bars(template, int(onsets[-1] + lasts[-1]) if len(rows) else 0),
            chords=np.stack([onsets[named], root, quality], 1).astype(np.int32),
        )

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Rows that begin before the span; never an END."""
        count = len(self.encode(template).frames)
        fixed = np.zeros((count, 3), bool)
        if use == "continue":
            onsets = self._rows(template)[2]
            begin = nearest(template.length if span is None else span[0], template, self.steps)
            fixed[: len(onsets)] = (onsets < begin)[:, None]
        return fixed
