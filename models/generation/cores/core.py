"""Base class of causal cores, and embeddings of frames: frames (batch, frames, columns) -> inputs -> hidden states."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import FrameSpec


class Core(nn.Module):
    """Base class of causal cores; `step` equals `forward` frame by frame.

    Constructed with the width of the input, then plain values. A state consists of tensors (batch, ...) in tuples and
    lists, and of numbers shared by the batch.

    inputs: features per input frame: the previous frame, then the conditions of this one
    width: features per output frame
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.inputs, self.width = inputs, width

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, inputs) -> (batch, frames, width); no output depends on a later input."""
        raise NotImplementedError

    def start(self, batch: int) -> Any:
        """Initial state."""
        raise NotImplementedError

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One frame (batch, inputs) -> (batch, width) and the next state. Without dropout; the old state is consumed."""
        raise NotImplementedError

    def select(self, state: Any, index: Tensor) -> Any:
        """State with rows reordered: new row i continues row index[i] of the old state, index (batch,)."""
        if isinstance(state, Tensor):
            return state.index_select(0, index)
        if isinstance(state, tuple | list):
            parts = [self.select(part, index) for part in state]
            return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
        return state

    def zeros(self, *size: int) -> Tensor:
        """Zeros with device and dtype of the parameters, for `start`."""
        like = next(self.parameters())
        return torch.zeros(size, device=like.device, dtype=like.dtype)


# Pitch representation of CONCERT (Mozer 1994, section 5, after Shepard 1982)

WIDTH = 5


def phcccf(pitch: Tensor) -> Tensor:
    """PHCCCF code (..., 5) of MIDI pitches (...,): octaves above middle C, chroma circle and circle of fifths.

    Pitches an octave apart differ in height only; semitones are neighbours on the first circle, fifths on the second.
    """
    chroma, fifths = 2 * torch.pi * pitch / 12, 2 * torch.pi * (7 * pitch % 12) / 12
    return torch.stack([(pitch - 60) / 12, chroma.cos(), chroma.sin(), fifths.cos(), fifths.sin()], -1)


def codes(form: FrameSpec) -> Tensor:
    """PHCCCF codes (categories, 5) of the first column; rest, hold and end are zeros."""
    unpitched = sum(category >= 0 for category in (form.hold, form.rest, form.end))
    pitches = form.low + torch.arange(form.sizes[0] - unpitched)
    return torch.cat([torch.zeros(unpitched, WIDTH), phcccf(pitches.float())])


class FrameEmbedding(nn.Module):
    """Frames (..., columns) -> (..., width): concatenated embeddings of categories; binary columns are unchanged.

    size: embedding size per column; None: one-hot
    coded: add the PHCCCF code of the first column's pitch
    """

    def __init__(self, form: FrameSpec, size: int | None = None, coded: bool = False) -> None:
        super().__init__()
        if size is not None and form.kind == "binary":
            raise ValueError("embedding needs categories, and the columns of this view are binary: leave it out")
        self.binary, self.size = form.kind == "binary", size
        self.width = form.columns if self.binary else form.columns * size if size else sum(form.sizes)
        self.cells = self.width
        self.table = nn.Embedding(sum(form.sizes), size) if size else None
        if coded and self.binary:
            raise ValueError("coded needs pitch categories, and the columns of this view are binary: leave it out")
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
        """Embeddings (batch, frames, width) of previous frames, a learned vector before the first."""
        embedded = self(frames[:, :-1])
        return torch.cat([self.first.to(embedded.dtype).expand(len(frames), 1, -1), embedded], 1)
