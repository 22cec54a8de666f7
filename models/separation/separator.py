"""Base classes of separation networks: spectrogram masks or waveforms -> sources."""

from typing import Any

from torch import Tensor, nn

from models.blocks.stft import STFT


class MaskSeparator(nn.Module):
    """Base class of masking networks: magnitude (batch, channels, bins, frames) -> masks of the same size per source.

    `forward(magnitude)` -> (batch, sources, channels, bins, frames), not negative. The estimate of a source is its mask
    times the mixture's complex spectrum. `stft` is the transform of training; separation uses it with centred frames.
    """

    def __init__(self, n_sources: int, sample_rate: int, channels: int, stft: STFT) -> None:
        super().__init__()
        self.n_sources, self.sample_rate, self.channels, self.stft = n_sources, sample_rate, channels, stft

    def separate(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, sources, channels, samples) of a mixture (batch, channels, samples), with its phase."""
        stft = self.stft.centred()
        spectrum = stft(mixture)
        masks = self(spectrum.abs())
        return stft.inverse(masks * spectrum[:, None], mixture.shape[-1])

    def encode(self, magnitude: Tensor) -> Any:
        """Encoding for `decode`, by default the masks; smaller than them in networks with a bottleneck.

        Args:
            magnitude: see `forward`
        """
        return self(magnitude)

    def decode(self, encoded: Any, frames: slice) -> Tensor:
        """Masks (batch, sources, channels, bins, frames) of a range of the encoded frames."""
        return encoded[..., frames]


class WaveSeparator(nn.Module):
    """Base class of waveform networks: (batch, channels, samples) -> (batch, sources, channels, samples).

    Any length is accepted and kept. segment: samples of a chunk in training and in inference; align: chunks of a long
    recording start at multiples of this many samples, to keep the alignment of strides.
    """

    def __init__(self, n_sources: int, sample_rate: int, channels: int, segment: int, align: int = 1) -> None:
        super().__init__()
        self.n_sources, self.sample_rate, self.channels = n_sources, sample_rate, channels
        self.segment, self.align = segment, align

    def separate(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, sources, channels, samples) of a mixture (batch, channels, samples)."""
        return self(mixture)
