"""Mean absolute error of waveforms, on which the time-domain networks of Table 2 were trained (Défossez et al. 2019)."""

from typing import cast

import torch
from torch import Tensor, nn

from losses.domains import Domains


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
