"""Level of recordings on numpy waveforms: robust level, silence, clicks, and downmix of channels that cancel each other.

`models.sed.MelFrontEnd` computes the same robust level for padded batches on the device, since models do not import
datamodules.
"""

from typing import NamedTuple

import numpy as np

PERCENTILE = 99.9
"""Percentile of the magnitude used as level: clicks of up to 0.1 % of the length do not count."""
CREST = 1.9
"""Peak of ordinary audio over its robust level, as a factor."""
CLICK_DB = 20.0
"""Peak over the robust level beyond which a recording holds clicks, dB."""
INAUDIBLE_DB = -75.0
"""Robust level below which a window holds no event, dB of full scale."""
QUIET_DB = -60.0
"""Robust level below which a recording is quiet (but not silent), dB of full scale."""
RAISED_DB = -20.0
"""Robust level to which quiet recordings are raised, dB of full scale."""
SILENCE = 1e-6
"""Largest deviation from the mean of a silent recording: a resampled constant varies in the last of 24 bits."""
CANCELLED = 0.06
"""Power of a mixed-down signal, relative to that of uncorrelated channels, below which channels cancel each other."""


def robust_level(audio: np.ndarray) -> float:
    """Magnitude at the 99.9th percentile.

    Args:
        audio: (samples,) floats in [-1, 1)

    Returns:
        Level in [0, 1], linear between the two nearest magnitudes; 0 for no samples.
    """
    if not len(audio):
        return 0.0
    position = PERCENTILE / 100 * (len(audio) - 1)
    below = int(position)
    above = min(below + 1, len(audio) - 1)
    magnitude = np.abs(audio)
    magnitude.partition((below, above))  # in place: hours need no second copy
    return float(magnitude[below] + (position - below) * (magnitude[above] - magnitude[below]))


def decibels(level: float) -> float:
    """Level in [0, 1] in dB of full scale, at least -200."""
    return 20 * float(np.log10(max(level, 1e-10)))


def is_silent(audio: np.ndarray) -> bool:
    """True for a constant recording; a quiet one is not silent.

    Args:
        audio: (samples,) floats in [-1, 1)
    """
    if not len(audio):
        return True
    mean = float(audio.mean(dtype=np.float64))
    return max(float(audio.max()) - mean, mean - float(audio.min())) < SILENCE


def is_inaudible(audio: np.ndarray) -> bool:
    """True for a window (samples,) below -75 dB of full scale: digital silence, dither, noise of the last bits."""
    return decibels(robust_level(audio)) < INAUDIBLE_DB


def click_db(audio: np.ndarray) -> float:
    """Peak over the robust level in dB; infinite for a single click in silence, 0 for silence."""
    peak = float(np.abs(audio).max(initial=0.0))
    return decibels(peak) - decibels(robust_level(audio)) if peak else 0.0


def raised(audio: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Raise a quiet recording to an ordinary level; returns it with a remark, or any other recording unchanged with None.

    Args:
        audio: (samples,) float32 in [-1, 1)
    """
    level = robust_level(audio)
    if is_silent(audio) or decibels(level) >= QUIET_DB:
        return audio, None
    gain = np.float32(10 ** (RAISED_DB / 20) / max(level, SILENCE))
    return audio * gain, f"it is very quiet ({decibels(level):.0f} dB of full scale) and was raised."


class ChannelPower(NamedTuple):
    """Energy of each channel (channels,) and of their mean: sums of squares over any number of blocks."""

    channels: np.ndarray
    mean: float

    def joined(self, other: "ChannelPower") -> "ChannelPower":
        """Sum over two blocks."""
        return ChannelPower(self.channels + other.channels, self.mean + other.mean)

    @property
    def cancelled(self) -> bool:
        """True if the channels cancel in their mean, as anti-phase stereo does."""
        uncorrelated = float(self.channels.sum()) / len(self.channels) ** 2
        return len(self.channels) > 1 and uncorrelated > 0 and self.mean < CANCELLED * uncorrelated

    @property
    def loudest(self) -> int:
        """Index of the loudest channel, the first of equal ones."""
        return int(self.channels.argmax())

    def remark(self) -> str:
        """Message on channels that cancel each other."""
        return f"its channels cancel each other (anti-phase): channel {self.loudest + 1}, the loudest, is used alone"


def channel_power(block: np.ndarray) -> ChannelPower:
    """Powers of a block (frames, channels)."""
    mean = block.mean(axis=1, dtype=np.float64)
    return ChannelPower(np.einsum("tc,tc->c", block, block, dtype=np.float64), float(mean @ mean))


class Mixdown:
    """Downmix of a recording, block by block, with the powers of its channels.

    Args:
        channel: channel to use alone instead of the mean

    `power` is of the blocks so far (None: there was nothing to mix), which shows whether their channels cancel.
    """

    def __init__(self, channel: int | None = None) -> None:
        self.channel = channel
        self.power: ChannelPower | None = None

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Block (frames, channels) float32 -> (frames,)."""
        if block.shape[1] == 1:
            return block[:, 0]
        if self.channel is not None:
            return block[:, self.channel]
        power = channel_power(block)
        self.power = power if self.power is None else self.power.joined(power)
        return block.mean(axis=1, dtype=np.float32)


def downmix(block: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Mix a whole recording down to mono; if its channels cancel each other, the loudest is used alone.

    Args:
        block: (frames, channels) float32

    Returns:
        (frames,) float32, and a message if channels cancel each other.
    """
    if block.shape[1] == 1:
        return block[:, 0], None
    power = channel_power(block)
    if power.cancelled:
        return block[:, power.loudest], power.remark()
    if block.shape[1] == 2:  # as the mean below, at a tenth of its cost
        return (block[:, 0] + block[:, 1]) / np.float32(2), None
    return block.mean(axis=1, dtype=np.float32), None
