"""What carries a sequence on: in parallel where all of it is known, or a frame at a time from a state."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import FrameSpec


class Core(nn.Module):
    """Base of all cores: causal, and `step` equals `forward` frame by frame.

    Built with the width of its input, then plain values. A state is made of tensors whose first dimension is the batch, in
    tuples and lists, and of plain numbers that are the same for the whole batch.

    inputs: numbers of each frame of x: what precedes the frame, then its conditions
    width: numbers of each frame of the output
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.inputs, self.width = inputs, width

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, inputs) -> (batch, frames, width); no output depends on a later input."""
        raise NotImplementedError

    def start(self, batch: int) -> Any:
        """The state before the first frame."""
        raise NotImplementedError

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One frame (batch, inputs) -> (batch, width) and the state behind it. Without dropout; the old state is used up."""
        raise NotImplementedError

    def select(self, state: Any, index: Tensor) -> Any:
        """The state of other rows: `index` (batch,) says which row of the old state each new row continues."""
        if isinstance(state, Tensor):
            return state.index_select(0, index)
        if isinstance(state, tuple | list):
            parts = [self.select(part, index) for part in state]
            return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
        return state

    def zeros(self, *size: int) -> Tensor:
        """Zeros where and as precise as the parameters are, for `start`."""
        like = next(self.parameters())
        return torch.zeros(size, device=like.device, dtype=like.dtype)


# Pitch as CONCERT hears it: height, chroma circle and circle of fifths (Mozer 1994, section 5, after Shepard 1982).

WIDTH = 5


def phcccf(pitch: Tensor) -> Tensor:
    """Five numbers (..., 5) of MIDI pitches (...,): octaves above middle C, then a point on each circle of twelve.

    Pitches an octave apart differ in height alone; semitones are neighbours on the first circle, fifths on the second.
    """
    chroma, fifths = 2 * torch.pi * pitch / 12, 2 * torch.pi * (7 * pitch % 12) / 12
    return torch.stack([(pitch - 60) / 12, chroma.cos(), chroma.sin(), fifths.cos(), fifths.sin()], -1)


def codes(form: FrameSpec) -> Tensor:
    """The code (categories, 5) of each category of the first column; rest, hold and end are five zeros."""
    unpitched = sum(category >= 0 for category in (form.hold, form.rest, form.end))
    pitches = form.low + torch.arange(form.sizes[0] - unpitched)
    return torch.cat([torch.zeros(unpitched, WIDTH), phcccf(pitches.float())])


# Frames as numbers that a core reads.


class FrameEmbedding(nn.Module):
    """Frames (..., columns) -> (..., width): of categories an embedding each, side by side; binary columns as they are.

    size: of the embedding of a column; None: one-hot
    coded: the first column's pitch comes as CONCERT's PHCCCF code too
    """

    def __init__(self, form: FrameSpec, size: int | None = None, coded: bool = False) -> None:
        super().__init__()
        if size is not None and form.kind == "binary":
            raise ValueError("embedding is for categories, and the columns of this view are binary: leave it out")
        self.binary, self.size = form.kind == "binary", size
        self.width = form.columns if self.binary else form.columns * size if size else sum(form.sizes)
        self.cells = self.width
        self.table = nn.Embedding(sum(form.sizes), size) if size else None
        if coded and self.binary:
            raise ValueError("pitches are coded where a column is one, and the columns of this view are binary: leave it out")
        self.register_buffer("codes", codes(form) if coded else None, persistent=False)
        self.width += WIDTH if coded else 0
        if size:
            self.first = nn.Parameter(torch.zeros(self.width))
        else:
            self.register_buffer("first", torch.zeros(self.width), persistent=False)
        offsets = torch.tensor((0, *form.sizes[:-1])).cumsum(0)
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        if self.binary:
            return frames.to(self.first.dtype)
        index = frames + self.offsets
        if self.table is None:
            embedded = torch.zeros(*frames.shape[:-1], self.cells, device=frames.device).scatter_(-1, index, 1.0)
        else:
            embedded = F.embedding(index, self.table.weight).flatten(-2)
        if self.codes is None:
            return embedded
        return torch.cat([embedded, self.codes[frames[..., 0]].to(embedded.dtype)], -1)

    def before(self, frames: Tensor) -> Tensor:
        """(batch, frames, columns) -> (batch, frames, width) of the frame before each; what is learned before the first."""
        embedded = self(frames[:, :-1])
        return torch.cat([self.first.to(embedded.dtype).expand(len(frames), 1, -1), embedded], 1)
