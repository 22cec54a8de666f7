"""What augmentation changes: the inputs of a batch of clips and, with them, their labels."""

from typing import NamedTuple

import torch
from torch import Tensor


class View(NamedTuple):
    """A batch as a network is to see it. Random numbers of all augmentations come from torch's generator on the CPU."""

    mel: Tensor | None  # (batch, frames, bands) log-mel, standardised or not; None where none is looked at
    valid: Tensor  # (batch,) frames of each clip; 0 in the log-mel behind them
    embeddings: dict[str, Tensor]  # name -> (batch, out frames, dim), aligned to the network's output
    clip: Tensor  # (batch, classes) labels of clips in [0, 1]
    frames: Tensor  # (batch, out frames, classes) labels of frames in [0, 1]
    group: Tensor | None = None  # (batch,) int64: which items are labelled alike (strong, weak, not) and may be mixed
    gain: Tensor | None = None  # (bands,) what a factor e in level adds to each band of the log-mel; 1 if None
    factor: int = 4  # frames of the log-mel per output frame

    @property
    def device(self) -> torch.device:
        """Where the batch lies."""
        return self.clip.device

    @property
    def out_valid(self) -> Tensor:
        """Output frames of each clip, (batch,), at least one."""
        return (self.valid // self.factor).clamp(min=1)


def uniform(shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
    """Evenly distributed numbers, drawn on the CPU so that every device gets the same."""
    return low + (high - low) * torch.rand(shape)
