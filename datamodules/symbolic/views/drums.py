"""Drums as words of bits, one word a step, as Makris et al. (2017) read rhythms."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.grid import VELOCITY_WRITTEN, frames_of, kept_frames, length_of, nearest, on_ticks
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.views.conditions import conditions_of, width
from datamodules.symbolic.views.view import Encoded, Unfit, Use, View

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
"""General MIDI drums of each class; it is decoded as the first. Other percussion is left out."""


class Drums(View):
    """Frames (frames, 9) of zeros and ones: which classes of the kit are struck; conditions are the place in the bar.

    Lost are durations (a step each), velocities, which drum of a class it was, and what is finer than the grid. Notes stay as
    the template has them.

    Args:
        steps: frames of a quarter note
    """

    name = "drums"
    uses = frozenset({"free", "continue", "inpaint"})
    low, high = 0, 127  # whatever the other instruments play

    def __init__(self, steps: int = 4) -> None:
        if steps < 1:
            raise ValueError(f"steps must be positive: {steps}")
        self.steps = steps

    def form(self) -> dict[str, Any]:
        """One column a class of KIT, which have no pitch."""
        return {
            "kind": "binary",
            "sizes": (2,) * len(KIT),
            "conditions": width(["position"], self.steps),
            "bar": 4 * self.steps,
            "low": 0,
        }

    def encode(self, piece: Piece) -> Encoded:
        """Raises Unfit where there are notes but no drums."""
        if len(piece.notes) and not len(piece.drums):
            raise Unfit("it has no drums")
        frames = np.zeros((frames_of(piece, self.steps), len(KIT)), np.float32)
        for number, drums in enumerate(KIT.values()):
            onsets = piece.drums[np.isin(piece.drums[:, 2], drums), 0]
            frames[np.minimum(nearest(onsets, piece, self.steps), len(frames) - 1), number] = 1
        return Encoded(frames, conditions_of(piece, ["position"], self.steps))

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Each stroke lasts a step."""
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
