"""Which frames of a padded batch are a clip's own, and batch norm over those alone."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Inside(NamedTuple):
    """The frames of a batch that are no padding."""

    mask: Tensor  # (batch, frames) bool
    rows: Tensor  # (frames inside,) int64, their places among all batch * frames

    @classmethod
    def of(cls, valid: Tensor, frames: int, device: torch.device) -> "Inside":
        """From the frames of each clip (batch,) on the CPU, so that no device has to be waited for."""
        mask = torch.arange(frames) < valid[:, None]
        rows = mask.flatten().nonzero()[:, 0]
        return cls(mask.to(device, non_blocking=True), rows.to(device, non_blocking=True))


def silenced(x: Tensor, inside: Inside | None) -> Tensor:
    """(batch, channels, frames, ...) with 0 in padded frames, as a convolution pads the end of a clip."""
    if inside is None:
        return x
    mask = inside.mask[:, None].to(x.dtype)
    return x * (mask if x.dim() == 3 else mask[..., None])


def normed(norm: nn.Module, x: Tensor, inside: Inside | None) -> Tensor:
    """Batch norm of (batch, channels, frames, ...) whose statistics, in training, are those of the frames inside.

    They are gathered, so that any norm over the batch will do, one synchronised over processes too. 0 elsewhere.
    """
    if inside is None or not norm.training:
        return norm(x)
    gathered = _Gathered.apply(x, inside.rows)
    out = norm(gathered) if x.dim() == 3 else norm(gathered.unsqueeze(2)).squeeze(2)
    return _Scattered.apply(out, inside.rows, x.shape[0], x.shape[2])


def gather(x: Tensor, rows: Tensor) -> Tensor:
    """(batch, channels, frames, ...) -> (frames inside, channels, ...), without a copy where x lies as channels_last."""
    return x.movedim(1, -1).flatten(0, 1).index_select(0, rows).movedim(-1, 1)


def scatter(gathered: Tensor, rows: Tensor, batch: int, frames: int) -> Tensor:
    """(frames inside, channels, ...) -> (batch, channels, frames, ...), 0 elsewhere."""
    values = gathered.movedim(1, -1)
    flat = values.new_zeros((batch * frames, *values.shape[1:])).index_copy_(0, rows, values)
    return flat.unflatten(0, (batch, frames)).movedim(-1, 1)


class _Gathered(torch.autograd.Function):
    """Each of the two is the other's gradient; torch adds where it could copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = x.shape[0], x.shape[2]
        return gather(x, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return scatter(grad, *ctx.saved_tensors, *ctx.size), None


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gathered: Tensor, rows: Tensor, batch: int, frames: int) -> Tensor:
        ctx.save_for_backward(rows)
        return scatter(gathered, rows, batch, frames)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return gather(grad, *ctx.saved_tensors), None, None, None
