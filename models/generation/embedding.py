"""Frames as numbers that a core reads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.form import Form
from models.generation.phcccf import WIDTH, codes


class FrameEmbedding(nn.Module):
    """Frames (..., columns) -> (..., width): of categories an embedding each, side by side; binary columns as they are.

    size: of the embedding of a column; None: one-hot
    coded: the first column's pitch comes as CONCERT's PHCCCF code too
    """

    def __init__(self, form: Form, size: int | None = None, coded: bool = False) -> None:
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
