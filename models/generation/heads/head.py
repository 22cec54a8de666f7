"""What a frame is drawn from, and what it costs, once a core has said what came before it."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.generation.frame_spec import FrameSpec
from models.generation.sampling import Sampling


class Head(nn.Module):
    """Base of all heads: a distribution of a frame given h, what a core makes of the frames before it.

    Built with the width of h and the form of the frames, then plain values. The leading dimensions of `nll` are any.

    likelihood: whether `nll` is exact or an estimate
    previous: whether `nll`, `loss` and `sample` want the frame before (..., columns) too, as the keyword `previous`
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
        """The likeliest cells (..., columns), each given h and the true cells that stand before it in the head's order."""
        raise NotImplementedError

    def loss(self, h: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        """What is minimised, over the frames (batch, frames) that are `valid`: nats of a cell."""
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
        """A frame (batch, columns) given h (batch, width), fixed cells as in `values`, and the log-weight (batch,).

        values, fixed: (batch, columns); fixed None: nothing is. allowed: (categories,) bool, what may be drawn in column 0
        where that is not fixed. The log-weight, for importance resampling, is the log-probability (temperature 1, finite) of
        the fixed cells, and of what is allowed, given what stands before them in the head's order; otherwise cells that are
        drawn do not count.
        """
        raise NotImplementedError

    def prepare(self, counts: Tensor) -> None:
        """How often each category stands in each column of the training set (columns, largest size): biases may start there."""
