"""Piano roll (Boulanger-Lewandowski et al. 2012): piece <-> sounding pitches of each frame."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.grid import VELOCITY_WRITTEN, cells_of, frames_of, kept_frames, length_of, nearest, on_ticks, spread
from datamodules.generation.piece import PITCH, VOICE, Piece
from datamodules.generation.views.view import Condition, Encoded, UnfitPiece, Use, View, conditions_of, width


class PianoRoll(View):
    """Frames (frames, pitches) of zeros and ones; with articulation (frames, 2 pitches): sounding, then struck in this frame.

    Unisons merge. Without articulation, notes of one pitch without a rest between them merge too. Voices are not represented:
    a decoded note gets its rank from the top at its onset as voice.

    Args:
        steps: frames of a quarter note; the sets of Boulanger-Lewandowski have 1
        low, high: range; their roll of 88 is 21 to 108
        articulation: add a plane of note onsets (Johnson's Hexahedria)
        conditions: inputs known for each frame (`datamodules.generation.views.view`)
        key: see `View`
    """

    name = "piano_roll"
    ranked = True

    def __init__(
        self,
        steps: int = 1,
        low: int = 21,
        high: int = 108,
        articulation: bool = False,
        conditions: Sequence[Condition] = (),
        key: Literal["any", "c"] = "any",
    ) -> None:
        if steps < 1 or low > high:
            raise ValueError(f"steps must be positive and low at most high: {steps, low, high}")
        self.steps, self.low, self.high, self.articulation = steps, low, high, articulation
        self.conditions, self.key = conditions, key

    @property
    def pitches(self) -> int:
        """Columns of a plane."""
        return self.high - self.low + 1

    def form(self) -> dict[str, Any]:
        """Frame specification, with two planes for articulation."""
        planes = 1 + self.articulation
        return {
            "kind": "binary",
            "sizes": (2,) * (planes * self.pitches),
            "conditions": width(self.conditions, self.steps),
            "bar": 4 * self.steps,
            "planes": planes,
            "low": self.low,
        }

    def encode(self, piece: Piece) -> Encoded:
        """Encode a piece. Raises UnfitPiece for a pitch out of range."""
        pitches = piece.notes[:, PITCH].astype(np.int64)
        if len(pitches) and (pitches.min() < self.low or pitches.max() > self.high):
            raise UnfitPiece(
                f"its pitches, {pitches.min()} to {pitches.max()}, reach beyond the model's {self.low} to {self.high}"
            )
        roll = np.zeros((frames_of(piece, self.steps), self.pitches), np.float32)
        starts, stops = cells_of(piece.notes, piece, self.steps)
        event, frame = spread(starts, stops)
        roll[frame, pitches[event] - self.low] = 1
        if self.articulation:
            struck = np.zeros_like(roll)
            struck[starts, pitches - self.low] = 1
            roll = np.concatenate([roll, struck], 1)
        return Encoded(roll, conditions_of(piece, self.conditions, self.steps))

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Decode frames; onsets of silent pitches are ignored."""
        template = on_ticks(template, self.steps)
        sounding = np.asarray(frames[:, : self.pitches]) > 0.5
        length = length_of(template, len(frames), self.steps)
        changes = np.diff(sounding, axis=0, prepend=False)
        begins = sounding & changes
        if self.articulation:
            begins |= sounding & (np.asarray(frames[:, self.pitches :]) > 0.5)
        return template.with_notes(_ranked(sounding, begins, template.ticks // self.steps, length, self.low), length=length)

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Whole frames outside a span; to harmonise, the melody's pitch and all above it, nothing at rests."""
        fixed = np.repeat(kept_frames(template, self.steps, use, span)[:, None], self.pitches, 1)
        if use == "harmonise":
            melody = template.voice(0)
            event, frame = spread(*cells_of(melody, template, self.steps))
            highest = np.full(len(fixed), self.high + 1)
            np.minimum.at(highest, frame, melody[event, PITCH])
            fixed |= np.arange(self.low, self.high + 1) >= highest[:, None]
        return np.concatenate([fixed] * (1 + self.articulation), 1)

    def freed(self, fixed: NDArray[np.bool_], template: Piece) -> NDArray[np.bool_]:
        """For a template with the melody alone, cells below it and at its rests are free."""
        return fixed & self.fixed(template, "harmonise") if template.voices == 1 else fixed


def _ranked(sounding: NDArray, begins: NDArray, step: int, length: int, low: int) -> NDArray[np.int32]:
    """Notes (n, 5) of a roll (frames, pitches) and its onsets; voice: rank from the top."""
    column, start = np.nonzero(begins.T)
    edges = begins | ~sounding
    edge_column, edge = np.nonzero(np.concatenate([edges, np.ones((1, edges.shape[1]), bool)]).T)
    frames = len(sounding) + 1  # one number a cell, so that the next edge of a column is one search
    stop = edge[np.searchsorted(edge_column * frames + edge, column * frames + start, "right")]
    above = np.cumsum(sounding[:, ::-1], 1)[:, ::-1] - sounding
    notes = np.zeros((len(start), 5), np.int32)
    notes[:, 0] = start * step
    notes[:, 1] = np.minimum(stop * step, length) - notes[:, 0]
    notes[:, PITCH], notes[:, 3], notes[:, VOICE] = column + low, VELOCITY_WRITTEN, above[start, column]
    return notes


KIT: dict[str, tuple[int, ...]] = {
    "kick": (36, 35),
    "snare": (38, 37, 39, 40),
    "closed hi-hat": (42, 44),
    "open hi-hat": (46,),
    "low tom": (45, 41, 43),
    "middle tom": (48, 47),
    "high tom": (50,),
    "crash": (49, 52, 55, 57),
    "ride": (51, 53, 59),
}
"""General MIDI drums of each class, decoded as the first. Other percussion is left out."""


class Drums(View):
    """Binary frames (frames, 9): struck classes of the kit (Makris et al. 2017); conditions are the position in the bar.

    Not represented: durations (a step each), velocities, the drum within a class, and times finer than the grid. Notes are
    those of the template.

    Args:
        steps: frames of a quarter note
    """

    name = "drums"
    uses = frozenset({"free", "continue", "inpaint"})
    low, high = 0, 127  # any pitches of the other instruments

    def __init__(self, steps: int = 4) -> None:
        if steps < 1:
            raise ValueError(f"steps must be positive: {steps}")
        self.steps = steps

    def form(self) -> dict[str, Any]:
        """Frame specification, one column per class of KIT."""
        return {
            "kind": "binary",
            "sizes": (2,) * len(KIT),
            "conditions": width(["position"], self.steps),
            "bar": 4 * self.steps,
            "low": 0,
        }

    def encode(self, piece: Piece) -> Encoded:
        """Encode the drums. Raises UnfitPiece if there are notes but no drums."""
        if len(piece.notes) and not len(piece.drums):
            raise UnfitPiece("it has no drums")
        frames = np.zeros((frames_of(piece, self.steps), len(KIT)), np.float32)
        for number, drums in enumerate(KIT.values()):
            onsets = piece.drums[np.isin(piece.drums[:, 2], drums), 0]
            frames[np.minimum(nearest(onsets, piece, self.steps), len(frames) - 1), number] = 1
        return Encoded(frames, conditions_of(piece, ["position"], self.steps))

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Decode frames; each stroke lasts a step."""
        template = on_ticks(template, self.steps)
        step = template.ticks // self.steps
        frame, number = np.nonzero(np.asarray(frames) > 0.5)
        drum = np.array([drums[0] for drums in KIT.values()])[number]
        strokes = np.stack([frame * step, np.full(len(frame), step), drum, np.full(len(frame), VELOCITY_WRITTEN)], 1)
        strokes = strokes[np.lexsort((drum, frame))].astype(np.int32)
        return replace(template, drums=strokes, length=length_of(template, len(frames), self.steps))

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Whole frames outside a span."""
        return np.repeat(kept_frames(template, self.steps, use, span)[:, None], len(KIT), 1)
