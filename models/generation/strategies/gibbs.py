"""Block Gibbs sampling over music longer than a model's window: window after window, each knowing half of the one before."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.generation.cells import given
from models.generation.form import Ask

Fill = Callable[[Tensor, Tensor], Tensor]
"""Frames (batch, window, columns) of given ones, and which cells of them are fixed."""


def slide(ask: Ask, window: int, fill: Fill) -> Tensor:
    """Frames (batch, frames, columns) as asked, window by window, half a window on each time.

    What was written stays, so that a window knows what lies before it, and of what lies ahead the cells that are fixed.
    Frames behind the end, where a window is longer than what is asked for, are free and thrown away.
    """
    frames, fixed = given(ask).clone(), ask.fixed.clone()
    length = frames.shape[1]
    missing = max(window - length, 0)
    frames, fixed = (F.pad(part, (0, 0, 0, missing)) for part in (frames, fixed))
    first = 0
    while True:
        here = slice(first, first + window)
        if not fixed[:, here].all():
            frames[:, here] = torch.where(fixed[:, here], frames[:, here], fill(frames[:, here], fixed[:, here]))
        if first + window >= length:
            return frames[:, :length]
        fixed[:, here] = True
        first = min(first + max(window // 2, 1), length - window)
