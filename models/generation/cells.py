"""Conversion of frames to inputs of dense networks and of logits to frames; windows of music."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.sampling import Sampling, draw, flip


class Cells(nn.Module):
    """Columns of frames as one-hot categories or binary values, and frames from logits. Has no parameters.

    columns: indices of the columns, by default all
    width: features per frame
    """

    def __init__(self, form: FrameSpec, columns: Sequence[int] | None = None) -> None:
        super().__init__()
        self.columns = list(range(form.columns) if columns is None else columns)
        self.binary = form.kind == "binary"
        self.sizes = [1 if self.binary else form.sizes[column] for column in self.columns]
        self.width = sum(self.sizes)
        starts = torch.tensor(self.sizes).cumsum(0) - torch.tensor(self.sizes)
        self.register_buffer("starts", starts, persistent=False)

    def read(self, frames: Tensor) -> Tensor:
        """Frames (..., columns of the form) -> (..., width) float32 zeros and ones."""
        chosen = frames[..., self.columns]
        if self.binary:
            return chosen.float()
        empty = torch.zeros(*chosen.shape[:-1], self.width, device=frames.device)
        return empty.scatter(-1, chosen + self.starts, 1.0)

    def spread(self, mask: Tensor) -> Tensor:
        """Mask of cells (..., columns of the form) repeated for every feature (..., width)."""
        return mask[..., self.columns].repeat_interleave(torch.tensor(self.sizes, device=mask.device), -1)

    def parts(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Logits (..., width) split into columns of categories."""
        return logits.split(self.sizes, -1)

    def chances(self, logits: Tensor) -> Tensor:
        """Probabilities (..., width) float32 of each note, or of each category of a column."""
        logits = logits.float()
        return logits.sigmoid() if self.binary else torch.cat([part.softmax(-1) for part in self.parts(logits)], -1)

    def nats(self, logits: Tensor, frames: Tensor) -> Tensor:
        """Cost (..., chosen columns) float32 of each cell of frames (..., columns of the form)."""
        logits, chosen = logits.float(), frames[..., self.columns]
        if self.binary:
            return F.binary_cross_entropy_with_logits(logits, chosen.float(), reduction="none")
        costs = (
            F.cross_entropy(part.flatten(0, -2), chosen[..., column].flatten(), reduction="none")
            for column, part in enumerate(self.parts(logits))
        )
        return torch.stack([cost.unflatten(0, chosen.shape[:-1]) for cost in costs], -1)

    def initial_bias(self, batches: Iterable[FrameBatch]) -> Tensor:
        """Logits (width,) of the frequency of each note or category in the batches, with add-one smoothing."""
        counts, frames = torch.ones(self.width, dtype=torch.float64), 0
        for batch in batches:
            counts += self.read(batch.frames)[batch.valid].sum(0).double().cpu()
            frames += int(batch.valid.sum())
        rest = frames + 2 - counts if self.binary else torch.ones_like(counts)
        return (counts.log() - rest.log()).float()

    def likeliest(self, logits: Tensor) -> Tensor:
        """Cells (..., chosen columns): float32 zeros and ones, or int64 categories."""
        return (logits > 0).float() if self.binary else torch.stack([part.argmax(-1) for part in self.parts(logits)], -1)

    def draw(self, logits: Tensor, sampling: Sampling, generator: torch.Generator, allowed: Tensor | None = None) -> Tensor:
        """Drawn cells (..., chosen columns), float32 zeros and ones or int64 categories, restricted to `allowed`."""
        if self.binary:
            return flip(logits.float(), sampling, generator)
        return torch.stack([draw(part, sampling, generator, allowed) for part in self.parts(logits)], -1)


def fixed_values(request: SamplingRequest) -> Tensor:
    """Values (batch, frames, columns) of the fixed cells, 0 elsewhere."""
    return torch.where(request.fixed, request.values, torch.zeros_like(request.values))


def ended(frames: Tensor, end: int) -> Tensor:
    """Frames (batch, frames, columns) with `end` in every cell after the first frame that contains it; end < 0: unchanged."""
    if end < 0:
        return frames
    behind = (frames == end).any(-1).cummax(1).values.roll(1, 1)
    behind[:, 0] = False
    return frames.masked_fill(behind[..., None], end)


def cut(x: Tensor, window: int) -> Tensor:
    """Non-overlapping windows: (batch, frames, ...) -> (batch * windows, window, ...), the last one zero-padded."""
    missing = -x.shape[1] % window
    if missing:
        x = F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing))
    return x.unflatten(1, (-1, window)).flatten(0, 1)


def joined(x: Tensor, frames: int) -> Tensor:
    """Inverse of `cut`: (batch * windows, window, ...) -> (batch, frames, ...), without the padding."""
    windows = -(-frames // x.shape[1])
    return x.unflatten(0, (-1, windows)).flatten(1, 2)[:, :frames]
