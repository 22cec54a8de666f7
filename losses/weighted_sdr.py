"""Weighted signal-to-distortion ratio in time (Choi et al. 2019; Sawata et al. 2021, equation 6), plus one: 0 is perfect."""

import torch
from torch import Tensor

from losses.gram import gram

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
