"""Voices on a grid: one category a voice and frame, as DeepBach and MiniBach read chorales."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.grid import kept_frames, length_of, on_ticks
from datamodules.symbolic.piece import PITCH, Piece
from datamodules.symbolic.views.conditions import Condition, conditions_of, width
from datamodules.symbolic.views.view import Encoded, Unfit, Use, View
from datamodules.symbolic.views.voice_cells import SILENT, merged_notes, notes_of, voice_cells

REST, HOLD = 0, 1


class VoiceGrid(View):
    """Frames (frames, voices) of categories: REST, HOLD (the note before goes on), then the pitches of the voice's range.

    Without HOLD a repeated note merges with the one before. Velocities are lost, and what is finer than the grid.

    Args:
        voices: how many; a piece with fewer leaves the last ones silent
        steps: frames of a quarter note
        low, high: range of every voice
        ranges: `given`, or `learned`: each voice's from the training pieces, `spread` semitones wider
        spread: see ranges
        hold: whether there is a HOLD; as DeepBach has it (Hadjeres et al. 2017, section 3.2)
        conditions: what is known of each frame (`datamodules.symbolic.views.conditions`)
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
        """Learn the range of each voice; one that no piece has keeps the whole range."""
        super().fit(pieces)
        for voice in range(self.voices if self.ranges == "learned" else 0):
            pitches = np.concatenate([np.zeros(0, np.int32), *(piece.voice(voice)[:, PITCH] for piece in pieces)])
            if len(pitches):
                self.lows[voice], self.highs[voice] = int(pitches.min()) - self.spread, int(pitches.max()) + self.spread

    def form(self) -> dict[str, Any]:
        """Sizes by voice; `low` is the lowest voice's where ranges differ."""
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
        """Each voice within its own range."""
        ranges = []
        for number in range(min(piece.voices, self.voices)) if voice is None else [voice]:
            pitches = piece.voice(number)[:, PITCH]
            if len(pitches):
                ranges.append((self.lows[number] - int(pitches.min()), self.highs[number] - int(pitches.max())))
        return max((low for low, _ in ranges), default=0), min((high for _, high in ranges), default=0)

    def bounds(self, voice: int) -> tuple[int, int]:
        """The voice's own range; that of the whole beyond the last one."""
        return (self.lows[voice], self.highs[voice]) if voice < self.voices else (self.low, self.high)

    def encode(self, piece: Piece) -> Encoded:
        """Raises Unfit for more voices, two notes at once in one, or a pitch out of its voice's range."""
        pitches, struck = voice_cells(piece, self.voices, self.steps)
        sounding = pitches != SILENT
        outside = sounding & ((pitches < self.lows) | (pitches > self.highs))
        if outside.any():
            frame, voice = np.argwhere(outside)[0]
            reach = f"{self.lows[voice]} to {self.highs[voice]}"
            raise Unfit(f"pitch {pitches[frame, voice]} of its voice {voice + 1} is outside the model's {reach}")
        frames = np.where(sounding, pitches - self.lows + self.first, REST)
        if self.hold:
            frames[sounding & ~struck] = HOLD
        return Encoded(frames, conditions_of(piece, self.conditions, self.steps))

    def merged_notes(self, piece: Piece) -> int:
        return merged_notes(piece, self.steps)

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """A HOLD with nothing before it to hold is silence."""
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
    """Pitches (frames, voices) with each HOLD as what stands before it."""
    source = np.maximum.accumulate(np.where(holds, 0, np.arange(len(pitches))[:, None]), 0)
    return np.take_along_axis(pitches, source, 0)
