"""Multi-domain loss (Sawata et al. 2021, equation 4): squared error of magnitudes plus weighted SDR of waveforms."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from losses.weighted_sdr import weighted_sdr

# What a separation loss compares: the same signals as magnitudes and as waveforms, either left out where unused.


class Domains(NamedTuple):
    """Signals of all sources in one or both domains."""

    magnitudes: Tensor | None  # (batch, sources, channels, bins, frames)
    waveforms: Tensor | None  # (batch, sources, channels, samples)


# Mean squared error between magnitudes (Sawata et al. 2021, equation 5, as the mean that the authors' code takes).


def magnitude_mse(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean of (estimate - target)^2 over all but sources: magnitudes (batch, sources, channels, bins, frames) -> (sources,)."""
    energies = error_energies(estimate, target)
    return energies[:-1] / values_per_source(estimate)


def values_per_source(signals: Tensor) -> int:
    """What one source's mean goes over, for signals (batch, sources, ...)."""
    return signals.numel() // signals.shape[1]


def error_energies(estimate: Tensor, target: Tensor) -> Tensor:
    """Sums of squares (sources + 1,) of each source's error and, last, of the sum of all errors.

    Both are (batch, sources, ...) of any precision. The sums are float64 and the gradient has the signals' precision;
    one batch element's errors are held at a time.

    Raises:
        ValueError: estimate and target differ in size.
    """
    if estimate.shape != target.shape:
        raise ValueError(f"Estimate and target differ in size: {tuple(estimate.shape)} and {tuple(target.shape)}.")
    return _ErrorEnergies.apply(estimate, target)


class _ErrorEnergies(torch.autograd.Function):
    """Errors are computed anew for the gradient, which is cheaper than to keep them."""

    @staticmethod
    def forward(ctx: Any, estimate: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(estimate, target)
        error = torch.empty_like(estimate[0], dtype=_precision(estimate))
        return torch.stack([_energies(_errors(*pair, error)) for pair in zip(estimate, target, strict=True)]).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        estimate, target = ctx.saved_tensors
        out = torch.empty_like(estimate, dtype=_precision(estimate))
        for error, *pair in zip(out, estimate, target, strict=True):
            rows = _errors(*pair, error)
            total = rows.pop() * (2 * grad[-1]).to(error.dtype)
            for row, weight in zip(rows, 2 * grad, strict=False):
                row.mul_(weight.to(error.dtype)).add_(total)
        return tuple(
            (out if sign > 0 else -out).to(signal.dtype) if needed else None
            for sign, signal, needed in zip((1, -1), (estimate, target), ctx.needs_input_grad, strict=True)
        )


def _errors(estimate: Tensor, target: Tensor, out: Tensor) -> list[Tensor]:
    """Every source's error in one batch element, views of `out` (sources, ...), and the sum of them."""
    torch.sub(estimate, target, out=out)
    total = out[0].clone()
    for row in out[1:]:  # several times faster than .sum(0) where frames lie behind bins in memory
        total += row
    return [*out, total]


def _energies(rows: list[Tensor]) -> Tensor:
    wide = torch.float32 if rows[0].device.type == "mps" else torch.float64
    return torch.stack([torch.linalg.vector_norm(row, dtype=wide).square() for row in rows])


def _precision(signal: Tensor) -> torch.dtype:
    return torch.float64 if signal.dtype == torch.float64 else torch.float32


# Combination loss (Sawata et al. 2021, equation 7): sums of 1 ... J-1 of the J sources compared too, without a loop.
#
# There are 2^J - 2 such subsets, 14 for four sources. A single source stands for itself.


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


class MultiDomainLoss(nn.Module):
    """magnitude_mse + alpha * weighted_sdr, the mean over the sources or, with `combination`, over all subsets of them.

    C1 ... P are its two switches: both domains or magnitudes alone; all subsets of sources or each source for itself.

    alpha: weight of the waveforms; the paper leaves it out, the authors' code has 10. trim: samples cut from each end of the
    waveforms (the authors' code: 200), where the inverse STFT has fewer frames to add.

    Raises:
        ValueError: `trim` leaves nothing of the waveforms, or estimate, target and mixture differ in size.
    """

    needs_magnitudes = True

    def __init__(self, multi_domain: bool, combination: bool, alpha: float = 10.0, trim: int = 0) -> None:
        super().__init__()
        self.multi_domain, self.combination, self.alpha, self.trim = multi_domain, combination, alpha, trim

    @property
    def needs_waveforms(self) -> bool:
        """Whether estimates must be given as waveforms too."""
        return self.multi_domain

    def extra_repr(self) -> str:
        return f"multi_domain={self.multi_domain}, combination={self.combination}, alpha={self.alpha}, trim={self.trim}"

    def forward(self, estimate: Domains, target: Domains, mixture: Tensor) -> Tensor:
        """Scalar; mixture (batch, channels, samples)."""
        if not self.combination:
            return self.per_source(estimate, target, mixture).mean()
        magnitudes = cast(Tensor, estimate.magnitudes)
        loss = combination_mse(magnitudes, cast(Tensor, target.magnitudes))
        if self.multi_domain:
            loss = loss + self.alpha * combination_weighted_sdr(*self._waveforms(estimate, target, mixture))
        return loss.to(_precision(magnitudes))

    def per_source(self, estimate: Domains, target: Domains, mixture: Tensor) -> Tensor:
        """The loss (sources,) of each source for itself, for one optimizer per source."""
        magnitudes = cast(Tensor, estimate.magnitudes)
        losses = magnitude_mse(magnitudes, cast(Tensor, target.magnitudes))
        if self.multi_domain:
            losses = losses + self.alpha * weighted_sdr(*self._waveforms(estimate, target, mixture))
        return losses.to(_precision(magnitudes))

    def _waveforms(self, estimate: Domains, target: Domains, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        samples = mixture.shape[-1]
        if samples <= 2 * self.trim:
            raise ValueError(f"Cutting {self.trim} samples from each end leaves nothing of {samples}: lower trim.")
        kept = slice(self.trim, samples - self.trim)
        ours, theirs = cast(Tensor, estimate.waveforms), cast(Tensor, target.waveforms)
        if ours.shape[-1] != samples:
            raise ValueError(f"The estimate has {ours.shape[-1]} samples and the mixture {samples}.")
        return ours[..., kept], theirs[..., kept], mixture[..., kept]


# Mean absolute error of waveforms, on which the time-domain networks of Table 2 were trained (Défossez et al. 2019).


class WaveformL1(nn.Module):
    """|estimate - target| on average over batch, sources, channels and samples."""

    needs_magnitudes = False
    needs_waveforms = True

    def forward(self, estimate: Domains, target: Domains, mixture: Tensor) -> Tensor:
        """Scalar; the mixture is not looked at."""
        return self.per_source(estimate, target, mixture).mean()

    def per_source(self, estimate: Domains, target: Domains, mixture: Tensor) -> Tensor:
        """The loss (sources,) of each source for itself."""
        ours, theirs = cast(Tensor, estimate.waveforms), cast(Tensor, target.waveforms)
        if ours.shape != theirs.shape:
            raise ValueError(f"Estimate and target differ in size: {tuple(ours.shape)} and {tuple(theirs.shape)}.")
        ours = ours if ours.dtype == torch.float64 else ours.float()
        return (ours - theirs).abs().mean((0, 2, 3))
