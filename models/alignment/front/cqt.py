"""Constant-Q transform (Brown 1991) and the front ends built on it: log magnitudes, with or without their flux."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.alignment.front.front import ratio
from models.alignment.front.stft import LogFront
from models.blocks.precision import ExactBuffers

# Fractions of a decimated rate: bins up to EDGE are analysed at it, and the filter is flat up to PASS, which leaves room
# for the width of a bin and a tuning of 100 cents.
EDGE, PASS = 0.37, 0.4
REACH = 37  # taps on either side of the centre of the half-band filter
KAISER = 11.5  # beta: ripple and stop band are 3e-6
OUTPUTS = 64  # decimated samples per row of the filter's matrix


class ConstantQ(ExactBuffers):
    """Constant-Q magnitudes at chosen frequencies: (batch, samples) -> (batch, bins, frames).

    Bin k at frame centre t is 2 / sum(w) * |sum over n of x[n] w((n - t) / N) exp(-2 pi i f (n - t) / rate)|, with w a Hann
    window of N = q * rate / f samples: a sine of amplitude a at f gives a. Brown 1991, with the decimation of Brown and
    Puckette 1992 by linear-phase half-band filters, in the time domain: within an octave the windows are short.
    hertz: rising or not, at least one; q: periods in a window. Frame j is centred on sample context + j * hop.

    A hop divisible by a high power of 2 allows the low bins to be computed at a low rate. Raises ValueError if a bin does
    not fit below half the sample rate.
    """

    taps: Tensor

    def __init__(self, hertz: np.ndarray, q: float, sample_rate: int, hop: int) -> None:
        super().__init__()
        self.hertz, self.q, self.sample_rate, self.hop = np.asarray(hertz, float), q, sample_rate, hop
        top = self.hertz.max() * (1 + 1 / q)
        if top > sample_rate / 2 or self.hertz.min() <= 0:
            raise ValueError(f"a bin reaches {top:.0f} Hz, expected all within half the sample rate, {sample_rate / 2:.0f}")
        deepest = (hop & -hop).bit_length() - 1
        stages = np.floor(np.log2(EDGE * sample_rate / self.hertz)).astype(int)
        self.stage = np.clip(stages, 0, deepest)  # number of decimations for each bin
        step = 2 ** int(self.stage.max())
        longest = int(np.ceil(q * sample_rate / self.hertz.min() * 2 ** (100 / 1200) / 2)) + 1
        self.context = -(-(longest + 2 * REACH * step) // step) * step
        self.register_buffer("taps", half_band(), persistent=False)
        order = np.argsort(self.stage, kind="stable")
        self.register_buffer("order", torch.from_numpy(np.argsort(order, kind="stable")), persistent=False)
        self._last: tuple[tuple[float, torch.device], dict[int, Tensor]] | None = None

    def forward(self, piece: Tensor, cents: float = 0.0) -> Tensor:
        frames = 1 + (piece.shape[-1] - 2 * self.context - 1) // self.hop
        parts, kernels = [], self.kernels(cents, piece.device)
        for stage in range(int(self.stage.max()) + 1):
            if stage:
                piece = decimated(piece, self.taps)
            if stage in kernels:
                parts.append(self._magnitudes(piece, kernels[stage], stage, frames))
        return torch.cat(parts, 1).index_select(1, self.order)

    def kernels(self, cents: float, device: torch.device) -> dict[int, Tensor]:
        """Kernels by stage: (2 * bins, samples), the real parts of its bins, then the imaginary parts."""
        key = cents, device
        if self._last is None or self._last[0] != key:
            self._last = key, {stage: kernel.to(device) for stage, kernel in self._kernels(ratio(cents)).items()}
        return self._last[1]

    def _kernels(self, shift: float) -> dict[int, Tensor]:
        hertz, kernels = self.hertz * shift, {}
        for stage in np.unique(self.stage):
            period = self.sample_rate / 2**stage / hertz[self.stage == stage][:, None]
            reach = int(np.ceil(self.q * period.max() / 2))
            n = np.arange(-reach, reach + 1)
            window = np.where(abs(n) < self.q * period / 2, 0.5 + 0.5 * np.cos(2 * np.pi * n / (self.q * period)), 0.0)
            window *= 2 / window.sum(1, keepdims=True)
            kernel = np.concatenate([window * np.cos(2 * np.pi * n / period), window * np.sin(2 * np.pi * n / period)])
            kernels[int(stage)] = torch.from_numpy(kernel).float()
        return kernels

    def _magnitudes(self, signal: Tensor, kernel: Tensor, stage: int, frames: int) -> Tensor:
        length = kernel.shape[1]
        start = (self.context >> stage) - length // 2
        windows = signal[:, start:].unfold(1, length, self.hop >> stage)[:, :frames]
        real, imaginary = (windows @ kernel.T).transpose(1, 2).chunk(2, 1)
        return torch.addcmul(real.square(), imaginary, imaginary).sqrt()


def half_band() -> Tensor:
    """Linear-phase half-band low-pass filter (2 * REACH + 1,): flat to PASS of the lower rate, no response from 1 - PASS."""
    n = np.arange(-REACH, REACH + 1)
    taps = np.sinc(n / 2) * np.kaiser(len(n), KAISER)
    return torch.from_numpy(taps / taps.sum()).float()


def decimated(signal: Tensor, taps: Tensor) -> Tensor:
    """Signal (batch, samples) low-pass filtered and decimated by 2; silence before and after.

    A product with a matrix of OUTPUTS shifted filters: 40 times as fast as a convolution of one channel.
    """
    length = 2 * (OUTPUTS - 1) + len(taps)
    matrix = taps.new_zeros(OUTPUTS, length)
    for row in range(OUTPUTS):
        matrix[row, 2 * row : 2 * row + len(taps)] = taps
    count = -(-signal.shape[1] // 2)
    rows = -(-count // OUTPUTS)
    padded = F.pad(signal, (REACH, 2 * OUTPUTS * (rows - 1) + length - REACH - signal.shape[1]))
    return (padded.unfold(1, length, 2 * OUTPUTS) @ matrix.T).flatten(1)[:, :count]


C2 = 65.4064  # Hz


def constant_q(hertz: np.ndarray, per_octave: int, sample_rate: int, hop: int) -> ConstantQ:
    """Transform with the window lengths of librosa: 1 / q is (r^2 - 1) / (r^2 + 1), r the ratio of neighbouring bins."""
    r = 4.0 ** (1 / per_octave)
    return ConstantQ(hertz, (r + 1) / (r - 1), sample_rate, hop)


class CQT(LogFront):
    """Log constant-Q spectrum, Hann windows: bin k is at f_min * 2^(k / per_octave) Hz.

    The paper's has 24 bins an octave from 65.4 Hz (C2): 144 bins are the six octaves to B7, 128 end at G7 and fill the
    network's input of 128. The window of C2 lasts 0.53 s, that of B7 9 ms. Channels and log: see `LogFront`.

    Raises ValueError for an unknown option, or bins at half the sample rate.
    """

    def __init__(
        self,
        sample_rate: int = 22_050,
        hop: int = 512,
        bins: int = 144,
        per_octave: int = 24,
        f_min: float = C2,
        channels: int = 1,
        kind: Literal["differences", "rgb"] = "differences",
        gamma: float = 300.0,
        normalise: Literal["loud", "peak", "none"] = "loud",
    ) -> None:
        settings = {"bins": bins, "per_octave": per_octave, "f_min": f_min}
        super().__init__(channels, kind, gamma, sample_rate=sample_rate, hop=hop, normalise=normalise, **settings)
        self.bins = bins
        self.transform = constant_q(self.hertz, per_octave, sample_rate, hop)
        self.set_context(self.transform.context)

    @property
    def hertz(self) -> np.ndarray:
        """Frequencies of the bins: (bins,) Hz."""
        return self.settings["f_min"] * 2.0 ** (np.arange(self.bins) / self.settings["per_octave"])

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        """Audio (batch, samples) -> constant-Q magnitudes (batch, bins, frames)."""
        return self.transform(piece, cents)


class LogCQTFlux(CQT):
    """Two channels: log constant-Q spectrum, and its half-wave rectified difference to the previous frame (flux).

    weight: of the flux. Compared by cosine, as one vector. Other arguments as for `CQT`.
    """

    def __init__(
        self,
        sample_rate: int = 22_050,
        hop: int = 512,
        bins: int = 144,
        per_octave: int = 24,
        f_min: float = C2,
        weight: float = 3.0,
        gamma: float = 300.0,
        normalise: Literal["loud", "peak", "none"] = "loud",
    ) -> None:
        super().__init__(sample_rate, hop, bins, per_octave, f_min, 1, "rgb", gamma, normalise)
        self.settings["weight"] = self.weight = weight
        self.stacks("flux")
        self.set_context(self.transform.context)

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        """Audio (batch, samples) -> log magnitudes and their rise (batch, 2, bins, frames)."""
        both = super().analyse(piece, cents)
        both[:, 1] *= self.weight
        return both
