"""Voice grid of DeepBach and MiniBach: piece -> one category a voice and frame."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.grid import VELOCITY_WRITTEN, cells_of, frames_of, kept_frames, length_of, on_ticks, spread
from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece, in_order
from datamodules.generation.views.view import Condition, Encoded, Polyphonic, UnfitPiece, Use, View, conditions_of, width
from datamodules.generation.voices import SLACK, monophonic

LEGATO = 1
"""Frames by which notes of a polyphonic voice may overlap; they are cut there."""
SILENT = -1
"""Pitch value of a rest."""


def voice_cells(piece: Piece, voices: int, steps: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pitch of each voice (frames, voices), SILENT for rests, and mask of note onsets (frames, voices).

    A note ends at the onset of the next in its voice. Of two notes of a voice in one frame of a coarse grid the later is kept.
    Raises UnfitPiece if there are more voices, or a voice sounds two notes at once.
    """
    if piece.voices > voices:
        raise UnfitPiece(f"it has {piece.voices} voices, the model {voices}")
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
    """Number of notes that share their first frame with a later note of their voice."""
    starts, _ = cells_of(piece.notes, piece, steps)
    return len(starts) - len(np.unique(np.stack([starts, piece.notes[:, VOICE]]), axis=1).T)


def notes_of(pitches: NDArray, struck: NDArray, step: int, length: int) -> NDArray[np.int32]:
    """Notes (n, 5) from the arrays of `voice_cells`; a note begins at an onset or a change of pitch."""
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


REST, HOLD = 0, 1


class VoiceGrid(View):
    """Frames (frames, voices) of categories: REST, HOLD (the note before goes on), then the pitches of the voice's range.

    Without HOLD a repeated note merges with the one before. Velocities and times finer than the grid are not represented.

    Args:
        voices: number of voices; those that a piece lacks are silent
        steps: frames of a quarter note
        low, high: range of every voice
        ranges: `given`, or `learned`: each voice's from the training pieces, `spread` semitones wider
        spread: see ranges
        hold: use the category HOLD, as in DeepBach (Hadjeres et al. 2017, section 3.2)
        conditions: inputs known for each frame (`datamodules.generation.views.view`)
        key: see `View`
    """

    name = "voice_grid"
    learns = ("centre", "lows", "highs")

    def __init__(
        self,
        voices: int = 4,
        steps: int = 4,
        low: int = 33,
        high: int = 84,
        ranges: Literal["given", "learned"] = "given",
        spread: int = 0,
        hold: bool = True,
        conditions: Sequence[Condition] = ("position", "fermata"),
        key: Literal["any", "c"] = "any",
    ) -> None:
        if min(voices, steps) < 1 or low > high or spread < 0:
            raise ValueError(
                f"voices and steps must be positive, low at most high, spread not negative: {voices, steps, low, high, spread}"
            )
        self.voices, self.steps, self.low, self.high = voices, steps, low, high
        self.ranges, self.spread, self.hold, self.conditions, self.key = ranges, spread, hold, conditions, key
        self.lows, self.highs = [low] * voices, [high] * voices

    @property
    def first(self) -> int:
        """Category of a voice's lowest pitch."""
        return 2 if self.hold else 1

    def fit(self, pieces: list[Piece]) -> None:
        """Learn the range of each voice; voices absent from all pieces keep the whole range."""
        super().fit(pieces)
        for voice in range(self.voices if self.ranges == "learned" else 0):
            pitches = np.concatenate([np.zeros(0, np.int32), *(piece.voice(voice)[:, PITCH] for piece in pieces)])
            if len(pitches):
                self.lows[voice], self.highs[voice] = int(pitches.min()) - self.spread, int(pitches.max()) + self.spread

    def form(self) -> dict[str, Any]:
        """Frame specification; `low` is the lowest pitch of all voices."""
        return {
            "kind": "categories",
            "sizes": tuple(self.first + high - low + 1 for low, high in zip(self.lows, self.highs, strict=True)),
            "conditions": width(self.conditions, self.steps),
            "bar": 4 * self.steps,
            "low": min(self.lows),
            "hold": HOLD if self.hold else -1,
            "rest": REST,
        }

    def reach(self, piece: Piece, voice: int | None = None) -> tuple[int, int]:
        """Transpositions that keep each voice within its own range."""
        ranges = []
        for number in range(min(piece.voices, self.voices)) if voice is None else [voice]:
            pitches = piece.voice(number)[:, PITCH]
            if len(pitches):
                ranges.append((self.lows[number] - int(pitches.min()), self.highs[number] - int(pitches.max())))
        return max((low for low, _ in ranges), default=0), min((high for _, high in ranges), default=0)

    def bounds(self, voice: int) -> tuple[int, int]:
        """Range of a voice; the whole range for voices beyond the last."""
        return (self.lows[voice], self.highs[voice]) if voice < self.voices else (self.low, self.high)

    def encode(self, piece: Piece) -> Encoded:
        """Encode a piece. Raises UnfitPiece for too many voices, two notes at once in a voice, or a pitch out of range."""
        pitches, struck = voice_cells(piece, self.voices, self.steps)
        sounding = pitches != SILENT
        outside = sounding & ((pitches < self.lows) | (pitches > self.highs))
        if outside.any():
            frame, voice = np.argwhere(outside)[0]
            reach = f"{self.lows[voice]} to {self.highs[voice]}"
            raise UnfitPiece(f"pitch {pitches[frame, voice]} of its voice {voice + 1} is outside the model's {reach}")
        frames = np.where(sounding, pitches - self.lows + self.first, REST)
        if self.hold:
            frames[sounding & ~struck] = HOLD
        return Encoded(frames, conditions_of(piece, self.conditions, self.steps))

    def merged_notes(self, piece: Piece) -> int:
        return merged_notes(piece, self.steps)

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Decode frames; a HOLD without a note before it is silence."""
        template = on_ticks(template, self.steps)
        pitched = frames >= self.first
        pitches = np.where(pitched, frames - self.first + self.lows, SILENT)
        if self.hold:
            pitches = _held(pitches, frames == HOLD)
        length = length_of(template, len(frames), self.steps)
        struck = pitched & self.hold
        return template.with_notes(notes_of(pitches, struck, template.ticks // self.steps, length), length=length)

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Whole frames outside a span; the first column to harmonise."""
        fixed = np.repeat(kept_frames(template, self.steps, use, span)[:, None], self.voices, 1)
        if use == "harmonise":
            fixed[:, 0] = True
        return fixed

    def freed(self, fixed: NDArray[np.bool_], template: Piece) -> NDArray[np.bool_]:
        """Columns of voices that the template lacks are free."""
        return fixed & (np.arange(self.voices) < template.voices)


def _held(pitches: NDArray, holds: NDArray) -> NDArray:
    """Replace each HOLD in pitches (frames, voices) by the value before it."""
    source = np.maximum.accumulate(np.where(holds, 0, np.arange(len(pitches))[:, None]), 0)
    return np.take_along_axis(pitches, source, 0)
