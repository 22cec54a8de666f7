"""Inner products of long signals, all pairs at once: what every squared error and cosine of their sums is made of."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = {"cpu": 2**18, "cuda": 2**23}  # values held in float64 at a time: within a core's cache, or enough to fill a GPU


def gram(*signals: Tensor) -> Tensor:
    """Inner products (..., n, n) of signals (..., n_i, samples) joined along n: float64, whatever the precision around it.

    Two sums of signals with coefficients a and b have the inner product a @ gram @ b. Nothing of the signals' size is held
    besides the gradients. float32 on devices without float64.
    """
    return _Gram.apply(*signals)


class _Gram(torch.autograd.Function):
    """The sum of block @ block.T over blocks of samples; its gradient is coefficients times the same blocks."""

    @staticmethod
    def forward(ctx: Any, *signals: Tensor) -> Tensor:
        ctx.save_for_backward(*signals)
        total: Any = 0
        with torch.autocast(signals[0].device.type, enabled=False):
            for part in _parts(signals):
                block = _block(signals, part)
                total = total + block @ block.mT
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        signals = ctx.saved_tensors
        ends = torch.tensor([signal.shape[-2] for signal in signals]).cumsum(0).tolist()
        weights = grad + grad.mT
        out = [torch.empty_like(s) if needed else None for s, needed in zip(signals, ctx.needs_input_grad, strict=True)]
        with torch.autocast(grad.device.type, enabled=False):
            for part in _parts(signals):
                block = _block(signals, part)
                for filled, end in zip(out, ends, strict=True):
                    if filled is not None:
                        filled[..., part] = weights[..., end - filled.shape[-2] : end, :] @ block
        return tuple(out)


def _parts(signals: tuple[Tensor, ...]) -> list[slice]:
    """Slices of samples that make blocks of about BLOCK values."""
    samples = signals[0].shape[-1]
    values = sum(signal[..., 0].numel() for signal in signals)
    step = max(1, BLOCK.get(signals[0].device.type, 2**20) // max(1, values))
    return [slice(start, min(start + step, samples)) for start in range(0, max(1, samples), step)]


def _block(signals: tuple[Tensor, ...], part: slice) -> Tensor:
    """(..., n, samples of this part)."""
    joined = torch.cat([signal[..., part] for signal in signals], -2)
    return joined.float() if joined.device.type == "mps" else joined.double()
