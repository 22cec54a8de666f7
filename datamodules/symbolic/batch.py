"""The one batch of music generation: encoded pieces or excerpts, padded at the end."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.symbolic.views.view import Encoded


class SymbolicBatch(NamedTuple):
    """Frames of pieces; has the fields of `models.generation.form.Frames`, and says whose they are."""

    frames: Tensor  # (batch, frames, columns): int64 categories, or float32 zeros and ones
    conditions: Tensor  # (batch, frames, conditions) float32
    valid: Tensor  # (batch, frames) bool: false where padded
    index: Tensor  # (batch,) int64: the place of the piece, or of the window, in its split
    names: tuple[str, ...]
    piece: Tensor  # (batch,) int64: the place of the piece in its split


class Item(NamedTuple):
    """One encoded piece or excerpt."""

    encoded: Encoded
    index: int
    name: str
    piece: int


def collate(items: Sequence[Item]) -> SymbolicBatch:
    """Items of any lengths as one batch."""
    longest = max(len(item.encoded.frames) for item in items)
    frames, conditions, valid = [], [], np.zeros((len(items), longest), bool)
    for row, encoded in enumerate(item.encoded for item in items):
        missing = longest - len(encoded.frames)
        frames.append(np.pad(encoded.frames, ((0, missing), (0, 0))))
        conditions.append(np.pad(encoded.conditions, ((0, missing), (0, 0))))
        valid[row, : len(encoded.frames)] = True
    return SymbolicBatch(
        torch.from_numpy(np.stack(frames)),
        torch.from_numpy(np.stack(conditions)),
        torch.from_numpy(valid),
        torch.tensor([item.index for item in items]),
        tuple(item.name for item in items),
        torch.tensor([item.piece for item in items]),
    )
