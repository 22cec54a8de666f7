"""Interface between data and generative models: frame specification, batches of frames, and sampling requests."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.generation.sampling import Sampling


class FrameSpec(NamedTuple):
    """Specification of the frames of a view.

    kind: `binary` columns, or one category per column
    sizes: number of categories of each column; 2 for binary columns
    conditions: number of conditioning features per frame (metre, fermata, key, chord)
    bar: frames of a 4/4 bar; 0 if frames are not a grid in time
    planes: equal parts of the columns of a binary frame (2: sounding, struck), pitches ascending in each
    low: pitch of the first column of a roll, or of the first pitched category
    hold, rest, end: categories of a held note, silence and the end of a piece; -1: none
    """

    kind: Literal["binary", "categories"]
    sizes: tuple[int, ...]
    conditions: int = 0
    bar: int = 16
    planes: int = 1
    low: int = 21
    hold: int = -1
    rest: int = -1
    end: int = -1

    @property
    def columns(self) -> int:
        """Number of columns of a frame."""
        return len(self.sizes)


class FrameBatch(NamedTuple):
    """A batch of pieces or of excerpts, padded at the end."""

    frames: Tensor  # (batch, frames, columns): int64 categories or float32 zeros and ones
    conditions: Tensor  # (batch, frames, conditions) float32
    valid: Tensor  # (batch, frames) bool: false where padded


class SamplingRequest(NamedTuple):
    """Input of `GenerativeModel.generate`: fixed cells, conditions and sampling options.

    values: as `FrameBatch.frames`; values of cells that are not fixed are ignored
    fixed: (batch, frames, columns) bool, cells that are copied to the output
    conditions: (batch, frames, conditions)
    allowed: (frames, categories) bool or None, allowed categories of views with one column
    use: purpose of the mask, one of the model's `supports`
    """

    values: Tensor
    fixed: Tensor
    conditions: Tensor
    generator: torch.Generator
    sampling: Sampling = Sampling()
    use: str = "free"
    allowed: Tensor | None = None
