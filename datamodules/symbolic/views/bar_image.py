"""A bar of melody as a picture, as MidiNet reads it (Yang et al. 2017)."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.grid import bar_lines, nearest, on_ticks
from datamodules.symbolic.harmony import MINOR, chords_of_bars
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.views.view import Encoded, Unfit, Use, View
from datamodules.symbolic.views.voice_cells import SILENT, notes_of, voice_cells

PITCHES = 128


class BarImage(View):
    """One frame a bar: zeros and ones (bars, steps of a bar x 128), the pitch that the melody (voice 0) sounds in each step.

    The melody has no rests: a note lasts until the next, the first one from the beginning, which fills up a pickup's bar too.
    Conditions are the bar's chord: root, one-hot of 12, and whether it is minor. Lost are rests, repeated notes (they merge), the
    other voices, velocities, and what is finer than the grid.

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
        """A plane a step of the bar; a 4/4 bar is one frame."""
        return {"kind": "binary", "sizes": (2,) * (self.bar * PITCHES), "conditions": 13, "bar": 1, "planes": self.bar, "low": 0}

    def _front(self, piece: Piece) -> int:
        """Steps that fill up the pickup's bar."""
        return self.bar - int(nearest(piece.pickup, piece, self.steps)) if piece.pickup else 0

    def encode(self, piece: Piece) -> Encoded:
        """Raises Unfit for bars other than 4/4, a longer pickup, or two notes at once in the melody."""
        if (piece.metres[:, 1] != piece.metres[:, 2]).any() or piece.pickup > piece.bar:
            raise Unfit("it has bars that are not of four quarters")
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
        """Of several pitches in a step the highest."""
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
