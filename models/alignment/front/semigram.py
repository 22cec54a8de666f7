"""Log magnitudes in semitones, the input of Izmirli and Dannenberg's network."""

from typing import Literal

from torch import Tensor

from models.alignment.front.bands import semitones
from models.alignment.front.stack import LogFront
from models.alignment.front.stft import Spectrum


class Semigram(LogFront):
    """Log magnitudes in `bins` semitones from MIDI number `first`, 88 from A0: (batch, channels, bins, frames).

    After Izmirli and Dannenberg 2010, whose window could not be looked up: the default of 93 ms tells semitones apart
    from 360 Hz; below, a bin of the FFT is spread over all semitones that it covers.
    Raises ValueError for an unknown option, or semitones above half the sample rate.
    """

    def __init__(
        self,
        sample_rate: int = 22_050,
        hop: int = 512,
        bins: int = 88,
        first: int = 21,
        n_fft: int = 2048,
        channels: int = 1,
        kind: Literal["differences", "rgb"] = "differences",
        gamma: float = 300.0,
        normalise: Literal["loud", "peak", "none"] = "loud",
    ) -> None:
        bands = {"bins": bins, "first": first, "n_fft": n_fft}
        super().__init__(channels, kind, gamma, sample_rate=sample_rate, hop=hop, normalise=normalise, **bands)
        self.bins, self.first = bins, first
        self.spectrum = Spectrum(sample_rate, n_fft, hop)
        self.hears(n_fft // 2)
        if not semitones(first, bins, self.spectrum.hertz()).any(1).all():
            raise ValueError(f"Semigram: semitone {first + bins - 1} lies above half the sample rate, {sample_rate / 2:g} Hz")

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        return self.spectrum(piece, semitones(self.first, self.bins, self.spectrum.hertz(cents)))
