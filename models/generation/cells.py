"""The cells of a frame as numbers that a dense network reads and writes, whatever their kind."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.sampling import Sampling, draw, flip


class Cells(nn.Module):
    """Chosen columns of frames as one-hot categories or as zeros and ones, and back from logits. Holds no parameters.

    columns: which, all by default
    width: numbers of a frame
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
        """What is said of cells (..., columns of the form), said of every number (..., width)."""
        return mask[..., self.columns].repeat_interleave(torch.tensor(self.sizes, device=mask.device), -1)

    def parts(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Logits (..., width) of each column of categories."""
        return logits.split(self.sizes, -1)

    def chances(self, logits: Tensor) -> Tensor:
        """Probabilities (..., width) float32: of each note, or of each category of a column."""
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

    def habit(self, batches: Iterable[FrameBatch]) -> Tensor:
        """Logits (width,) of how often each category or note stands in the music of batches, each counted once more."""
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
        """Cells (..., chosen columns), float32 zeros and ones or int64 categories; of those `allowed` in a view of one column."""
        if self.binary:
            return flip(logits.float(), sampling, generator)
        return torch.stack([draw(part, sampling, generator, allowed) for part in self.parts(logits)], -1)


def given(ask: Ask) -> Tensor:
    """The values of fixed cells (batch, frames, columns), zero where nothing is fixed: what stood there means nothing."""
    return torch.where(ask.fixed, ask.values, torch.zeros_like(ask.values))


def ended(frames: Tensor, end: int) -> Tensor:
    """Frames (batch, frames, columns) with `end` in every cell behind a frame that holds it; end < 0: there is none."""
    if end < 0:
        return frames
    behind = (frames == end).any(-1).cummax(1).values.roll(1, 1)
    behind[:, 0] = False
    return frames.masked_fill(behind[..., None], end)


# Networks of a fixed width read music of any length as windows, one after another.


def cut(x: Tensor, window: int) -> Tensor:
    """(batch, frames, ...) -> (batch * windows, window, ...), the last window of each row filled up with zeros.

    The windows of a row follow one another and do not overlap: a row's first frame is the first of a window.
    """
    missing = -x.shape[1] % window
    if missing:
        x = F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing))
    return x.unflatten(1, (-1, window)).flatten(0, 1)


def joined(x: Tensor, frames: int) -> Tensor:
    """(batch * windows, window, ...) -> (batch, frames, ...): what `cut` made, without what filled up the last window."""
    windows = -(-frames // x.shape[1])
    return x.unflatten(0, (-1, windows)).flatten(1, 2)[:, :frames]
