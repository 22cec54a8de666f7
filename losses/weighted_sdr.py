"""Weighted signal-to-distortion ratio in time (Choi et al. 2019; Sawata et al. 2021, equation 6), plus one: 0 is perfect."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Inner products of long signals, all pairs at once: what every squared error and cosine of their sums is made of.

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


EPS = 1e-10


def weighted_sdr(estimate: Tensor, target: Tensor, mixture: Tensor, subsets: Tensor | None = None) -> Tensor:
    """Distortion 0 ... 2 of every source, (sources,), the mean over batch and channels, float64.

    With y the source, n = mixture - y the rest, and ^ what is estimated of either,

        1 - rho <y, y^> / (|y| |y^|) - (1 - rho) <n, n^> / (|n| |n^|),  rho = |y|^2 / (|y|^2 + |n|^2).

    The paper's loss is this less one. All inner products come from one matrix of them, see `gram`.

    Args:
        estimate, target: (batch, sources, channels, samples)
        mixture: (batch, channels, samples)
        subsets: (subsets, sources) of 0 and 1: compare sums of sources, giving (subsets,)

    Raises:
        ValueError: the signals differ in size.
    """
    if estimate.shape != target.shape or target[:, 0].shape != mixture.shape:
        sizes = " and ".join(str(tuple(signal.shape)) for signal in (estimate, target, mixture))
        raise ValueError(f"Estimate, target and mixture differ in size: {sizes}.")
    sources = estimate.shape[1]
    products = gram(estimate.transpose(1, 2), target.transpose(1, 2), mixture.unsqueeze(2))
    chosen = torch.eye(sources) if subsets is None else subsets
    chosen = chosen.to(products)
    none, one = torch.zeros_like(chosen), torch.ones_like(chosen[:, :1])
    # Every signal as coefficients of (estimates, targets, mixture).
    ours, theirs = torch.cat([chosen, none, 0 * one], 1), torch.cat([none, chosen, 0 * one], 1)
    left, rest = torch.cat([-chosen, none, one], 1), torch.cat([none, -chosen, one], 1)

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return ((a @ products) * b).sum(-1)

    return _ratio(
        inner(ours, theirs),
        inner(ours, ours),
        inner(theirs, theirs),
        inner(left, rest),
        inner(left, left),
        inner(rest, rest),
    ).mean((0, 1))


def _ratio(source: Tensor, ours: Tensor, theirs: Tensor, noise: Tensor, left: Tensor, rest: Tensor) -> Tensor:
    """Distortion of inner products: <estimate, target> and both energies, then the same of what the mixture has besides."""
    # A difference of equal energies may round to just below zero.
    ours, theirs, left, rest = (energy.clamp(min=0) for energy in (ours, theirs, left, rest))
    share = theirs / (theirs + rest + EPS)
    return 1 - share * _cosine(source, ours, theirs) - (1 - share) * _cosine(noise, left, rest)


def _cosine(product: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return product / ((a + EPS).sqrt() * (b + EPS).sqrt() + EPS)
