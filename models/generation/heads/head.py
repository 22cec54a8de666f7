"""Base class of output heads: hidden states and frames -> likelihood, loss and samples."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.generation.frame_spec import FrameSpec
from models.generation.sampling import Sampling


class Head(nn.Module):
    """Base class of heads: distribution of a frame given the hidden state h of a core.

    Constructed with the width of h and the specification of the frames, then plain values. `nll` accepts any leading
    dimensions.

    likelihood: whether `nll` is exact or an estimate
    previous: whether `nll`, `loss` and `sample` need the previous frame (..., columns) as the keyword `previous`
        (zeros before the first)
    """

    likelihood: ClassVar[Literal["exact", "estimate"]] = "exact"
    previous: ClassVar[bool] = False

    def __init__(self, width: int, form: FrameSpec) -> None:
        super().__init__()
        self.width, self.form = width, form

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        """Nats (...,) float32 of frames y (..., columns) given h (..., width)."""
        raise NotImplementedError

    def guess(self, h: Tensor, y: Tensor) -> Tensor:
        """Most likely cells (..., columns), each given h and the true previous cells in the head's order."""
        raise NotImplementedError

    def loss(self, h: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        """Training loss over `valid` frames (batch, frames): nats per cell."""
        return self.nll(h[valid], y[valid]).sum() / valid.sum().clamp(min=1) / self.form.columns

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sampled frame (batch, columns) given h (batch, width) and fixed cells, and its log-weight (batch,).

        values, fixed: (batch, columns); fixed None: no fixed cells. allowed: (categories,) bool, allowed categories of
        column 0 if it is not fixed. The log-weight, for importance resampling, is the log-probability (temperature 1,
        finite) of the fixed cells and of the allowed categories, given the previous cells in the head's order.
        """
        raise NotImplementedError

    def prepare(self, counts: Tensor) -> None:
        """Initialise biases by counts (columns, largest size) of the categories of each column in the training set."""
