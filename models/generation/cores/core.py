"""What carries a sequence on: in parallel where all of it is known, or a frame at a time from a state."""

from typing import Any

import torch
from torch import Tensor, nn


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
