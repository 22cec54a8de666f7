"""Weighted SDR loss of waveforms (Choi et al. 2019; Sawata et al. 2021, equation 6) plus one, so that 0 is perfect."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = {"cpu": 2**18, "cuda": 2**23}  # float64 values at a time: fit a core's cache, or fill a GPU


def gram(*signals: Tensor) -> Tensor:
    """Inner products (..., n, n) of signals (..., n_i, samples) concatenated along n: float64 under any autocast.

    Sums of signals with coefficients a and b have the inner product a @ gram @ b. No tensor of the signals' size is stored
    except gradients. float32 on devices without float64.
    """
    return _Gram.apply(*signals)


class _Gram(torch.autograd.Function):
    """Sum of block @ block.T over blocks of samples; the gradient is a product with the same blocks."""

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
    """Slices of samples for blocks of about BLOCK values."""
    samples = signals[0].shape[-1]
    values = sum(signal[..., 0].numel() for signal in signals)
    step = max(1, BLOCK.get(signals[0].device.type, 2**20) // max(1, values))
    return [slice(start, min(start + step, samples)) for start in range(0, max(1, samples), step)]


def _block(signals: tuple[Tensor, ...], part: slice) -> Tensor:
    """Block (..., n, samples of the part)."""
    joined = torch.cat([signal[..., part] for signal in signals], -2)
    return joined.float() if joined.device.type == "mps" else joined.double()


EPS = 1e-10


def weighted_sdr(estimate: Tensor, target: Tensor, mixture: Tensor, subsets: Tensor | None = None) -> Tensor:
    """Distortion 0 ... 2 of each source (sources,), averaged over batch and channels, float64.

    With source y, rest n = mixture - y, and their estimates ^,

        1 - rho <y, y^> / (|y| |y^|) - (1 - rho) <n, n^> / (|n| |n^|),  rho = |y|^2 / (|y|^2 + |n|^2).

    The paper's loss is this minus one. All inner products are computed as one matrix, see `gram`.

    Args:
        estimate, target: (batch, sources, channels, samples)
        mixture: (batch, channels, samples)
        subsets: (subsets, sources) of 0 and 1: compare sums of sources -> (subsets,)

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
    zeros, ones = torch.zeros_like(chosen), torch.ones_like(chosen[:, :1])
    # Each signal as coefficients of (estimates, targets, mixture).
    ours, theirs = torch.cat([chosen, zeros, 0 * ones], 1), torch.cat([zeros, chosen, 0 * ones], 1)
    left, rest = torch.cat([-chosen, zeros, ones], 1), torch.cat([zeros, -chosen, ones], 1)

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
    """Distortion from <estimate, target> and their energies, and the same of the rests of the mixture."""
    # A difference of equal energies may be slightly negative by rounding.
    ours, theirs, left, rest = (energy.clamp(min=0) for energy in (ours, theirs, left, rest))
    share = theirs / (theirs + rest + EPS)
    return 1 - share * _cosine(source, ours, theirs) - (1 - share) * _cosine(noise, left, rest)


def _cosine(product: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return product / ((a + EPS).sqrt() * (b + EPS).sqrt() + EPS)
