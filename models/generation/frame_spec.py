"""What the systems share with whoever feeds them: the form of frames, a batch of them, and what is asked for."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.generation.sampling import Sampling


class FrameSpec(NamedTuple):
    """The form of a view's frames.

    kind: `binary` columns, or one category a column
    sizes: number of categories of each column; all 2 where binary
    conditions: numbers that are known of a frame beforehand (metre, fermata, key, chord)
    bar: frames of a 4/4 bar; 0 where frames are not a grid in time
    planes: columns of a binary frame are `planes` equal parts (2: sounding, struck anew), pitches ascending in each
    low: pitch of the first column of a roll, or of the first pitched category
    hold, rest, end: categories that mean a held note, silence and the end of a piece; -1: there is none
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
        """Columns of a frame."""
        return len(self.sizes)


class FrameBatch(NamedTuple):
    """A batch of pieces or of excerpts, padded at the end."""

    frames: Tensor  # (batch, frames, columns): int64 categories or float32 zeros and ones
    conditions: Tensor  # (batch, frames, conditions) float32
    valid: Tensor  # (batch, frames) bool: false where padded


class Ask(NamedTuple):
    """What a system is asked to write: every use is a mask.

    values: as `FrameBatch.frames`; what stands in cells that are not fixed means nothing
    fixed: (batch, frames, columns) bool: cells that must come back as they are
    conditions: (batch, frames, conditions)
    allowed: (frames, categories) bool, or None: what may stand in each frame of a view of one column
    use: the name of what the mask is for; a family refuses what is not in its `supports`
    """

    values: Tensor
    fixed: Tensor
    conditions: Tensor
    generator: torch.Generator
    sampling: Sampling = Sampling()
    use: str = "free"
    allowed: Tensor | None = None
