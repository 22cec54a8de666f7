"""The two kinds of separation network: one masks the mixture's spectrum, the other maps waveform to waveforms."""

from typing import Any

from torch import Tensor, nn

from models.blocks.stft import STFT


class MaskSeparator(nn.Module):
    """Base of networks on magnitudes: forward maps (batch, channels, bins, frames) to masks of the same size per source.

    `forward(magnitude)` -> (batch, sources, channels, bins, frames), not negative. The estimate of a source is its mask
    times the mixture's complex spectrum. `stft` is the transform of training; separating uses it with centred frames.
    """

    def __init__(self, n_sources: int, sample_rate: int, channels: int, stft: STFT) -> None:
        super().__init__()
        self.n_sources, self.sample_rate, self.channels, self.stft = n_sources, sample_rate, channels, stft

    def separate(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, sources, channels, samples) of a mixture (batch, channels, samples), its phase kept."""
        stft = self.stft.centred()
        spectrum = stft(mixture)
        masks = self(spectrum.abs())
        return stft.inverse(masks * spectrum[:, None], mixture.shape[-1])

    def encode(self, magnitude: Tensor) -> Any:
        """Encoding that `decode` turns into masks, frame by frame; smaller than the masks where a network has such a layer.

        Args:
            magnitude: as of `forward`
        """
        return self(magnitude)

    def decode(self, encoded: Any, frames: slice) -> Tensor:
        """Masks (batch, sources, channels, bins, frames) of a range of the frames that were encoded."""
        return encoded[..., frames]


class WaveSeparator(nn.Module):
    """Base of networks on waveforms: forward maps (batch, channels, samples) to (batch, sources, channels, samples).

    Any length is accepted and kept. segment: samples of one chunk in training and, with some context, in use; `align`:
    chunks of a long recording start at multiples of this many samples, so that strides fall where they fell in training.
    """

    def __init__(self, n_sources: int, sample_rate: int, channels: int, segment: int, align: int = 1) -> None:
        super().__init__()
        self.n_sources, self.sample_rate, self.channels = n_sources, sample_rate, channels
        self.segment, self.align = segment, align

    def separate(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, sources, channels, samples) of a mixture (batch, channels, samples)."""
        return self(mixture)
