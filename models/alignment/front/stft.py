"""Log magnitudes in mel or linear bands of a short window, the input of the paper, and the spectrum that others share."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.alignment.front.bands import mel_edges, triangles
from models.alignment.front.front import ratio
from models.alignment.front.stack import LogFront
from models.features import WINDOWS
from models.precision import ExactBuffers


class Spectrum(ExactBuffers):
    """Magnitudes of a window of `n_fft` samples in bands: a piece (batch, samples) -> (batch, bands, frames).

    The piece begins n_fft / 2 samples before the first frame's centre. A sine of amplitude a gives a at its FFT bin; bands
    sum their bins. power: 1 for magnitudes, 2 for their squares.
    """

    window: Tensor

    def __init__(self, sample_rate: int, n_fft: int, hop: int, window: str = "hamming", power: Literal[1, 2] = 1) -> None:
        super().__init__()
        self.sample_rate, self.n_fft, self.hop, self.power = sample_rate, n_fft, hop, power
        self.register_buffer("window", WINDOWS[window](n_fft), persistent=False)

    def hertz(self, cents: float = 0.0) -> np.ndarray:
        """What the FFT's bins are in a tuning that is `cents` too high: (n_fft / 2 + 1,) Hz."""
        return np.arange(self.n_fft // 2 + 1) * self.sample_rate / self.n_fft / ratio(cents)

    def forward(self, piece: Tensor, weights: np.ndarray) -> Tensor:
        """weights: (bands, n_fft / 2 + 1)."""
        piece = piece[:, : piece.shape[1] - 1]  # the last frame's window ends one sample before its far end
        spectrum = torch.stft(piece, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        size = power.sqrt() * (2 / self.window.sum()) if self.power == 1 else power * (2 / self.window.sum()) ** 2
        return torch.from_numpy(weights).to(size) @ size


class STFT(LogFront):
    """Log magnitudes in `bins` triangular bands up to `f_max` Hz, window 46 ms, hop 23 ms, as far as the paper says.

    spacing: "mel" (Slaney) or "linear". What goes with the channels and the log: `LogFront`.
    Raises ValueError for an unknown option, or bands so narrow that one of them holds no FFT bin.
    """

    def __init__(
        self,
        sample_rate: int = 22_050,
        hop: int = 512,
        bins: int = 128,
        n_fft: int = 1024,
        spacing: Literal["mel", "linear"] = "mel",
        f_min: float = 0.0,
        f_max: float = 5500.0,
        channels: int = 1,
        kind: Literal["differences", "rgb"] = "differences",
        gamma: float = 300.0,
        normalise: Literal["loud", "peak", "none"] = "loud",
    ) -> None:
        bands = {"bins": bins, "n_fft": n_fft, "spacing": spacing, "f_min": f_min, "f_max": f_max}
        super().__init__(channels, kind, gamma, sample_rate=sample_rate, hop=hop, normalise=normalise, **bands)
        self.chosen("spacing", spacing, ("mel", "linear"))
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise ValueError(f"STFT: f_min {f_min:g} and f_max {f_max:g}, expected to rise from 0 to {sample_rate / 2:g} Hz")
        self.bins = bins
        self.edges = mel_edges(f_min, f_max, bins) if spacing == "mel" else np.linspace(f_min, f_max, bins + 2)
        self.spectrum = Spectrum(sample_rate, n_fft, hop)
        self.hears(n_fft // 2)
        if not self.weights(0.0).any(1).all():
            raise ValueError(f"STFT: {bins} bands are narrower than the bins of an FFT of {n_fft}: give fewer or a longer FFT")

    def weights(self, cents: float) -> np.ndarray:
        """(bins, n_fft / 2 + 1) of the FFT's bins in each band."""
        return triangles(self.edges, self.spectrum.hertz(cents))

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        return self.spectrum(piece, self.weights(cents))
