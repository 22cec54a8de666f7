"""Multi-domain loss (Sawata et al. 2021, equation 4): squared error of magnitudes plus weighted SDR of waveforms."""

from typing import cast

import torch
from torch import Tensor, nn

from losses.combination import combination_mse, combination_weighted_sdr
from losses.domains import Domains
from losses.magnitude_mse import magnitude_mse
from losses.weighted_sdr import weighted_sdr


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


def _precision(signal: Tensor) -> torch.dtype:
    return torch.float64 if signal.dtype == torch.float64 else torch.float32
