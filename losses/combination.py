"""Combination loss (Sawata et al. 2021, equation 7): sums of 1 ... J-1 of the J sources compared too, without a loop.

There are 2^J - 2 such subsets, 14 for four sources. A single source stands for itself.
"""

import torch
from torch import Tensor

from losses.magnitude_mse import error_energies, values_per_source
from losses.weighted_sdr import weighted_sdr


def subsets(sources: int) -> Tensor:
    """All subsets (2^J - 2, J) of 0 and 1 but the empty and the full one; the full one for a single source."""
    numbers = torch.arange(1, max(2, 2**sources - 1))
    return numbers[:, None].bitwise_right_shift(torch.arange(sources)).bitwise_and(1)


def combination_mse(estimate: Tensor, target: Tensor) -> Tensor:
    """Squared error of magnitudes (batch, sources, channels, bins, frames), the mean over all subsets: a scalar.

    Of a subset S it is the mean of (sum_S estimate - sum_S target)^2. In the sum over subsets each pair of sources meets
    2^(J-2) - 1 times, and each source itself 2^(J-2) times more often: what remains is each source's error and the error
    of their sum.
    """
    energies = error_energies(estimate, target)
    sources = estimate.shape[1]
    if sources == 1:
        return energies[0] / values_per_source(estimate)
    pairs = 2 ** (sources - 2)
    total = pairs * energies[:-1].sum() + (pairs - 1) * energies[-1]
    return total / ((2**sources - 2) * values_per_source(estimate))


def combination_weighted_sdr(estimate: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
    """Weighted SDR of waveforms (batch, sources, channels, samples), the mean over all subsets: a scalar.

    All subsets' inner products are quadratic forms of those of the sources, the estimates and the mixture.
    """
    return weighted_sdr(estimate, target, mixture, subsets(estimate.shape[1])).mean()
