"""Log constant-Q magnitudes, alone or with their rise."""

from typing import Literal

import numpy as np
from torch import Tensor

from models.alignment.front.constant_q import ConstantQ
from models.alignment.front.stack import LogFront

C2 = 65.4064  # Hz


def constant_q(hertz: np.ndarray, per_octave: int, sample_rate: int, hop: int) -> ConstantQ:
    """The transform with windows as long as librosa's: 1 / q is (r^2 - 1) / (r^2 + 1), r the ratio of neighbouring bins."""
    r = 4.0 ** (1 / per_octave)
    return ConstantQ(hertz, (r + 1) / (r - 1), sample_rate, hop)


class CQT(LogFront):
    """Log constant-Q spectrum, Hann windows: bin k is at f_min * 2^(k / per_octave) Hz.

    The paper's has 24 bins an octave from 65.4 Hz (C2): 144 bins are the six octaves to B7, 128 end at G7 and fill the
    network's input of 128. The window of C2 lasts 0.53 s, that of B7 9 ms. What goes with channels and log: `LogFront`.

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
        self.hears(self.transform.context)

    @property
    def hertz(self) -> np.ndarray:
        """Frequencies of the bins: (bins,) Hz."""
        return self.settings["f_min"] * 2.0 ** (np.arange(self.bins) / self.settings["per_octave"])

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        return self.transform(piece, cents)


class LogCQTFlux(CQT):
    """Two channels: the log constant-Q spectrum, and how much each bin has risen since the frame before, falls being 0.

    weight: of the rise. Compared by cosine, as one vector. Arguments else as `CQT`.
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
        self.hears(self.transform.context)

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        both = super().analyse(piece, cents)
        both[:, 1] *= self.weight
        return both
