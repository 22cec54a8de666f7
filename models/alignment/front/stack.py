"""Channels that are made of one magnitude spectrum, and its logarithm."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.alignment.front.front import Front

CHANNELS = {"none": 1, "flux": 2, "differences": 3, "rgb": 3}
MEDIAN = 17  # frames, and bins: the length of the filters that tell what is percussive
MARGIN = {"none": 0, "flux": 1, "differences": MEDIAN // 2, "rgb": 0}  # frames on either side that are needed
KINDS = ("differences", "rgb")


class LogFront(Front):
    """log(1 + gamma * magnitude) of some spectrum, alone or with channels made of it.

    A recording is levelled first, so partials lie near 0.01 to 0.1 and `gamma` says how far below them the log turns linear:
    300 keeps what is 50 dB under full scale and flattens the noise under it. More places beats closer in clean renderings,
    less loses fewer passages in recordings with noise. A floor in dB would weigh noise like notes; one under the
    recording's largest value would hang on one loud chord.

    channels: 1, or 3 of a kind: "differences", which are the log magnitude, its change since the frame before, and the log
    magnitude of what is percussive (Fitzgerald 2010: medians over 17 bins against medians over 17 frames); "rgb", three
    times the same. Agrawal and Dixon 2021 have inputs of three channels and do not say which.

    A subclass gives `magnitude`, and calls `hears` with the samples either side of a frame's centre that it needs.
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
        """Make the channels of this kind."""
        self.stack, self.margin, self.channels = kind, MARGIN[kind], CHANNELS[kind]

    def hears(self, samples: int) -> None:
        """One frame of `magnitude` needs so many samples either side of its centre."""
        self.context = samples + self.margin * self.hop

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        """(batch, bins, frames) of a piece; a sine of amplitude a gives about a where it lies."""
        raise NotImplementedError

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
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
    """What of a spectrum (batch, bins, frames) is wide in frequency rather than long in time, by a soft mask."""
    wide = medians(magnitude.transpose(1, 2)).transpose(1, 2).square()
    long = medians(magnitude).square()
    return magnitude * wide / (wide + long).clamp(min=1e-20)


def medians(x: Tensor) -> Tensor:
    """Median of each value and its neighbours along the last axis; by sorting, which is deterministic on every device."""
    half = MEDIAN // 2
    return F.pad(x, (half, half), mode="replicate").unfold(-1, MEDIAN, 1).sort(-1)[0][..., half]
