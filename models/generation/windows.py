"""Networks of a fixed width read music of any length as windows, one after another."""

import torch.nn.functional as F
from torch import Tensor


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
