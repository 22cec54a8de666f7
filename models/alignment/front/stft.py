"""Short-time Fourier front ends: log magnitudes in mel, linear or semitone bands, and the shared band spectrum."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.alignment.front.front import Front, ratio
from models.blocks.features import WINDOWS
from models.blocks.precision import ExactBuffers

# Filterbanks

A4 = 440.0
A4_MIDI = 69


def hertz_of(midi: np.ndarray | float) -> np.ndarray:
    """Frequency in Hz of MIDI numbers, fractions allowed."""
    return A4 * 2.0 ** ((np.asarray(midi, float) - A4_MIDI) / 12)


def midi_of(hertz: np.ndarray | float) -> np.ndarray:
    """MIDI number, with its fraction, of frequencies in Hz."""
    return A4_MIDI + 12 * np.log2(np.asarray(hertz, float) / A4)


def mel_edges(f_min: float, f_max: float, bands: int) -> np.ndarray:
    """Band edges in Hz (bands + 2,), evenly spaced on Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    low, step = 15.0, np.log(6.4) / 27  # 1 kHz is 15 mel
    mel = [f * low / 1000 if f < 1000 else low + np.log(f / 1000) / step for f in (f_min, f_max)]
    even = np.linspace(*mel, bands + 2)
    return np.where(even < low, even * 1000 / low, 1000 * np.exp(step * (even - low)))


def triangles(edges: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    """Triangular filters (bands, bins): each rises from one edge to 1 at the next and falls to the one after."""
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)), 0.0, None)


def semitones(first: int, count: int, hertz: np.ndarray) -> np.ndarray:
    """Semitone filters (count, bins): share of each bin's width in the semitones of MIDI numbers first, first + 1, ...

    hertz: evenly spaced from 0. A bin wider than a semitone (in the bass) is spread over all semitones it covers.
    """
    half = (hertz[1] - hertz[0]) / 2
    edges = hertz_of(first + np.arange(count + 1) - 0.5)
    inside = np.minimum(hertz + half, edges[1:, None]) - np.maximum(hertz - half, edges[:-1, None])
    return np.clip(inside, 0.0, None) / (2 * half)


# Log magnitudes and derived channels

CHANNELS = {"none": 1, "flux": 2, "differences": 3, "rgb": 3}
MEDIAN = 17  # frames and bins: length of the median filters of percussive separation
MARGIN = {"none": 0, "flux": 1, "differences": MEDIAN // 2, "rgb": 0}  # frames needed on either side
KINDS = ("differences", "rgb")


class LogFront(Front):
    """log(1 + gamma * magnitude) of a spectrum, alone or with derived channels.

    A recording is levelled first, so partials are near 0.01 to 0.1, and `gamma` sets how far below them the log turns
    linear: 300 keeps what is 50 dB below full scale and flattens the noise below that. Larger values place beats more
    precisely in clean renderings, smaller ones lose fewer passages in noisy recordings. A floor in dB would weigh noise
    like notes; one relative to the recording's largest value would depend on one loud chord.

    channels: 1, or 3 of a kind: "differences", the log magnitude, its change since the previous frame, and the log
    magnitude of the percussive part (Fitzgerald 2010: medians over 17 bins against medians over 17 frames); "rgb", three
    copies. Agrawal and Dixon 2021 use inputs of three channels without further details.

    A subclass implements `magnitude`, and calls `set_context` with the samples it needs on either side of a frame's centre.
    """

    def __init__(self, channels: int, kind: str, gamma: float, **settings: object) -> None:
        super().__init__(channels=channels, kind=kind, gamma=gamma, **settings)
        self.chosen("channels", channels, (1, 3))
        self.chosen("kind", kind, KINDS)
        if gamma <= 0:
            raise ValueError(f"{type(self).__name__}: gamma is {gamma}, expected more than 0")
        self.gamma = gamma
        self.stacks("none" if channels == 1 else kind)

    def stacks(self, kind: str) -> None:
        """Select the channels of this kind."""
        self.stack, self.margin, self.channels = kind, MARGIN[kind], CHANNELS[kind]

    def set_context(self, samples: int) -> None:
        """Set the samples that one frame of `magnitude` needs on either side of its centre."""
        self.context = samples + self.margin * self.hop

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        """Magnitudes (batch, bins, frames) of a piece; a sine of amplitude a gives about a in its bin."""
        raise NotImplementedError

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        """Audio (batch, samples) -> log magnitudes and derived channels (batch, channels, bins, frames)."""
        magnitude = self.magnitude(piece, cents)
        log = self._log(magnitude)
        inside = slice(self.margin, log.shape[-1] - self.margin)
        if self.stack == "rgb":
            return log[:, None].expand(-1, 3, -1, -1)
        if self.stack == "none":
            return log[:, None]
        change = log[..., inside] - log[..., self.margin - 1 : log.shape[-1] - self.margin - 1]
        if self.stack == "flux":
            return torch.stack([log[..., inside], change.relu()], 1)
        return torch.stack([log[..., inside], change, self._log(percussive(magnitude))[..., inside]], 1)

    def _log(self, magnitude: Tensor) -> Tensor:
        return (self.gamma * magnitude).log1p()


def percussive(magnitude: Tensor) -> Tensor:
    """Percussive part of a magnitude spectrum (batch, bins, frames), by a soft mask (Fitzgerald 2010)."""
    wide = medians(magnitude.transpose(1, 2)).transpose(1, 2).square()
    long = medians(magnitude).square()
    return magnitude * wide / (wide + long).clamp(min=1e-20)


def medians(x: Tensor) -> Tensor:
    """Median filter along the last axis; by sorting, which is deterministic on every device."""
    half = MEDIAN // 2
    return F.pad(x, (half, half), mode="replicate").unfold(-1, MEDIAN, 1).sort(-1)[0][..., half]


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
        """Frequencies of the FFT bins relative to a tuning of `cents` above 440 Hz: (n_fft / 2 + 1,) Hz."""
        return np.arange(self.n_fft // 2 + 1) * self.sample_rate / self.n_fft / ratio(cents)

    def forward(self, piece: Tensor, weights: np.ndarray) -> Tensor:
        """weights: (bands, n_fft / 2 + 1)."""
        piece = piece[:, : piece.shape[1] - 1]  # the last frame's window ends one sample before its far end
        spectrum = torch.stft(piece, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        size = power.sqrt() * (2 / self.window.sum()) if self.power == 1 else power * (2 / self.window.sum()) ** 2
        return torch.from_numpy(weights).to(size) @ size


class LogSTFT(LogFront):
    """Log magnitudes in `bins` triangular bands up to `f_max` Hz, window 46 ms, hop 23 ms (Agrawal and Dixon 2021).

    spacing: "mel" (Slaney) or "linear". Channels and log: see `LogFront`.
    Raises ValueError for an unknown option, or if a band contains no FFT bin.
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
        self.set_context(n_fft // 2)
        if not self.weights(0.0).any(1).all():
            raise ValueError(f"STFT: {bins} bands are narrower than the bins of an FFT of {n_fft}: give fewer or a longer FFT")

    def weights(self, cents: float) -> np.ndarray:
        """Filterbank (bins, n_fft / 2 + 1)."""
        return triangles(self.edges, self.spectrum.hertz(cents))

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        """Audio (batch, samples) -> band magnitudes (batch, bins, frames)."""
        return self.spectrum(piece, self.weights(cents))


class Semigram(LogFront):
    """Log magnitudes in `bins` semitones from MIDI number `first`, 88 from A0: (batch, channels, bins, frames).

    Input of Izmirli and Dannenberg 2010, whose window length is not known here: the default of 93 ms resolves semitones
    from 360 Hz; below, an FFT bin is spread over all semitones that it covers.
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
        self.set_context(n_fft // 2)
        if not semitones(first, bins, self.spectrum.hertz()).any(1).all():
            raise ValueError(f"Semigram: semitone {first + bins - 1} lies above half the sample rate, {sample_rate / 2:g} Hz")

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        """Audio (batch, samples) -> semitone magnitudes (batch, bins, frames)."""
        return self.spectrum(piece, semitones(self.first, self.bins, self.spectrum.hertz(cents)))
