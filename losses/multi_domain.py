"""Multi-domain loss (Sawata et al. 2021, equation 4): magnitudes and waveforms -> scalar."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from losses.weighted_sdr import weighted_sdr


class Domains(NamedTuple):
    """Signals of all sources as magnitudes and waveforms, None if unused."""

    magnitudes: Tensor | None  # (batch, sources, channels, bins, frames)
    waveforms: Tensor | None  # (batch, sources, channels, samples)


def magnitude_mse(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean squared error per source of magnitudes (batch, sources, channels, bins, frames) -> (sources,) (equation 5)."""
    energies = error_energies(estimate, target)
    return energies[:-1] / values_per_source(estimate)


def values_per_source(signals: Tensor) -> int:
    """Number of values per source of signals (batch, sources, ...)."""
    return signals.numel() // signals.shape[1]


def error_energies(estimate: Tensor, target: Tensor) -> Tensor:
    """Sums of squares (sources + 1,) of each source's error and, last, of the sum of all errors.

    Signals are (batch, sources, ...) of any precision. The sums are float64, the gradient has the signals' precision; the
    errors of one batch element are stored at a time.

    Raises:
        ValueError: estimate and target differ in size.
    """
    if estimate.shape != target.shape:
        raise ValueError(f"Estimate and target differ in size: {tuple(estimate.shape)} and {tuple(target.shape)}.")
    return _ErrorEnergies.apply(estimate, target)


class _ErrorEnergies(torch.autograd.Function):
    """Errors are recomputed in the backward pass, which is cheaper than storing them."""

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
    """Errors of all sources of one batch element, views of `out` (sources, ...), and their sum."""
    torch.sub(estimate, target, out=out)
    total = out[0].clone()
    for row in out[1:]:  # several times faster than .sum(0) for frames behind bins in memory
        total += row
    return [*out, total]


def _energies(rows: list[Tensor]) -> Tensor:
    wide = torch.float32 if rows[0].device.type == "mps" else torch.float64
    return torch.stack([torch.linalg.vector_norm(row, dtype=wide).square() for row in rows])


def _precision(signal: Tensor) -> torch.dtype:
    return torch.float64 if signal.dtype == torch.float64 else torch.float32


# Combination loss (equation 7) over all sums of 1 ... J-1 of J sources, 2^J - 2 subsets, without a loop


def subsets(sources: int) -> Tensor:
    """Indicators (2^J - 2, J) of all subsets except the empty and the full one; the full one for a single source."""
    numbers = torch.arange(1, max(2, 2**sources - 1))
    return numbers[:, None].bitwise_right_shift(torch.arange(sources)).bitwise_and(1)


def combination_mse(estimate: Tensor, target: Tensor) -> Tensor:
    """Squared error of magnitudes (batch, sources, channels, bins, frames), averaged over all subsets: a scalar.

    The error of a subset S is the mean of (sum_S estimate - sum_S target)^2. In the sum over subsets each pair of sources
    occurs 2^(J-2) - 1 times, and each source itself 2^(J-2) times more often, so only the errors of the sources and the
    error of their sum are needed.
    """
    energies = error_energies(estimate, target)
    sources = estimate.shape[1]
    if sources == 1:
        return energies[0] / values_per_source(estimate)
    pairs = 2 ** (sources - 2)
    total = pairs * energies[:-1].sum() + (pairs - 1) * energies[-1]
    return total / ((2**sources - 2) * values_per_source(estimate))


def combination_weighted_sdr(estimate: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
    """Weighted SDR of waveforms (batch, sources, channels, samples), averaged over all subsets: a scalar.

    Inner products of subsets are quadratic forms of those of sources, estimates and mixture.
    """
    return weighted_sdr(estimate, target, mixture, subsets(estimate.shape[1])).mean()


class MultiDomainLoss(nn.Module):
    """magnitude_mse + alpha * weighted_sdr, averaged over sources or, with `combination`, over all subsets of sources.

    `multi_domain` (both domains or magnitudes only) and `combination` distinguish the systems C1 ... P of the paper.

    alpha: weight of the waveforms, not stated in the paper, 10 in the authors' code. trim: samples cut from each end of the
    waveforms (200 in the authors' code), where the inverse STFT adds fewer frames.

    Raises:
        ValueError: `trim` leaves no samples, or estimate, target and mixture differ in size.
    """

    needs_magnitudes = True

    def __init__(self, multi_domain: bool, combination: bool, alpha: float = 10.0, trim: int = 0) -> None:
        super().__init__()
        self.multi_domain, self.combination, self.alpha, self.trim = multi_domain, combination, alpha, trim

    @property
    def needs_waveforms(self) -> bool:
        """True if waveforms of the estimates are needed."""
        return self.multi_domain

    def extra_repr(self) -> str:
        return f"multi_domain={self.multi_domain}, combination={self.combination}, alpha={self.alpha}, trim={self.trim}"

    def forward(self, estimate: Domains, target: Domains, mixture: Tensor) -> Tensor:
        """Scalar loss; mixture (batch, channels, samples)."""
        if not self.combination:
            return self.per_source(estimate, target, mixture).mean()
        magnitudes = cast(Tensor, estimate.magnitudes)
        loss = combination_mse(magnitudes, cast(Tensor, target.magnitudes))
        if self.multi_domain:
            loss = loss + self.alpha * combination_weighted_sdr(*self._waveforms(estimate, target, mixture))
        return loss.to(_precision(magnitudes))

    def per_source(self, estimate: Domains, target: Domains, mixture: Tensor) -> Tensor:
        """Loss (sources,) of each source, for one optimizer per source."""
        magnitudes = cast(Tensor, estimate.magnitudes)
        losses = magnitude_mse(magnitudes, cast(Tensor, target.magnitudes))
        if self.multi_domain:
            losses = losses + self.alpha * weighted_sdr(*self._waveforms(estimate, target, mixture))
        return losses.to(_precision(magnitudes))

    def _waveforms(self, estimate: Domains, target: Domains, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        samples = mixture.shape[-1]
        if samples <= 2 * self.trim:
            raise ValueError(f"Cutting {self.trim} samples from each end of {samples} leaves none: lower trim.")
        kept = slice(self.trim, samples - self.trim)
        ours, theirs = cast(Tensor, estimate.waveforms), cast(Tensor, target.waveforms)
        if ours.shape[-1] != samples:
            raise ValueError(f"The estimate has {ours.shape[-1]} samples and the mixture {samples}.")
        return ours[..., kept], theirs[..., kept], mixture[..., kept]


class WaveformL1(nn.Module):
    """Mean absolute error of waveforms, the loss of the time-domain networks of Table 2 (Défossez et al. 2019)."""

    needs_magnitudes = False
    needs_waveforms = True

    def forward(self, estimate: Domains, target: Domains, mixture: Tensor) -> Tensor:
        """Scalar loss; the mixture is not used."""
        return self.per_source(estimate, target, mixture).mean()

    def per_source(self, estimate: Domains, target: Domains, mixture: Tensor) -> Tensor:
        """Loss (sources,) of each source."""
        ours, theirs = cast(Tensor, estimate.waveforms), cast(Tensor, target.waveforms)
        if ours.shape != theirs.shape:
            raise ValueError(f"Estimate and target differ in size: {tuple(ours.shape)} and {tuple(theirs.shape)}.")
        ours = ours if ours.dtype == torch.float64 else ours.float()
        return (ours - theirs).abs().mean((0, 2, 3))
