"""What a separation loss compares: the same signals as magnitudes and as waveforms, either left out where unused."""

from typing import NamedTuple

from torch import Tensor


class Domains(NamedTuple):
    """Signals of all sources in one or both domains."""

    magnitudes: Tensor | None  # (batch, sources, channels, bins, frames)
    waveforms: Tensor | None  # (batch, sources, channels, samples)
